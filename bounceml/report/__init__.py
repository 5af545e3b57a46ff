"""A report on the bounces of logs, mails and tables: one page for people, the figures as JSON and CSV beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bounceml import decide, stream, text
from bounceml.classifier import Classifier
from bounceml.errors import UsageError
from bounceml.report import page, table
from bounceml.report.aggregate import FORMAT, Figures
from bounceml.values import Reply


def figures(replies: Iterable[Reply], classifier: Classifier) -> Figures:
    """Return the figures of replies, in one pass.

    A reply whose input states that nothing failed needs no verdict; in a log those are most.
    """
    found = Figures()
    for reply in replies:
        if reply.outcome in decide.NO_FAILURE and reply.error is None:
            found.add_success(reply)
        else:
            judged = classifier.find(reply)
            found.add(reply, judged.verdict(), judged.template)
    return found


def write(
    arguments: Sequence[str],
    output: Path,
    classifier: Classifier,
    *,
    form: str = "auto",
    column: str | None = None,
    addresses: bool = False,
    say: Callable[[str], None],
    watch: Callable[[Iterable[Reply]], Iterable[Reply]],
) -> dict[str, Any]:
    """Write the report on what the user named, and the same figures beside it: ``report.json`` and ``report.csv``.

    Parameters
    ----------
    arguments, form, column, say
        As in ``stream.entries``.
    output
        The page to write. Where an earlier report's figures stand beside it, the templates that are new are told.
    classifier
        Judges the replies; the page is in its language.
    addresses
        Whether recipients are shown in full.
    watch
        Sees the replies as they pass, to show progress.

    Returns
    -------
    dict[str, Any]
        The figures, as they are in the JSON.

    Raises
    ------
    UsageError
        Where a file to write is none of an earlier report, or cannot be written.

    """
    json_file, csv_file = output.with_suffix(".json"), output.with_suffix(".csv")
    if output in (json_file, csv_file):
        raise UsageError(f"{output}: JSON and CSV stand beside the page; give the page a name that ends in .html")
    earlier = _earlier(json_file)
    if earlier is None and csv_file.exists():
        raise UsageError(f"{csv_file}: is there already, and of no report; name another page with -o")
    ours = {os.path.realpath(path) for path in (output, json_file, csv_file)}
    if named := [argument for argument in arguments if os.path.realpath(argument) in ours]:
        raise UsageError(f"{named[0]}: is to be read, and would be written; name another page with -o")
    if not os.access(output.parent, os.W_OK):  # told now, and not when a million rows are read
        raise UsageError(f"{output}: its folder is not there or cannot be written; name another page with -o")
    entries = stream.entries(arguments, form, column, say=say, ours=ours)
    found = figures(watch(reply for entry in entries for reply in entry.replies), classifier)
    summary = found.summary(addresses, None if earlier is None else set(earlier["wordings"]))
    _put(output, page.render(summary, classifier.voice.lang, earlier, text.visible(csv_file.name), text.visible(json_file.name)))
    _put(csv_file, table.render(summary))
    _put(json_file, json.dumps(summary, ensure_ascii=False, indent=1) + "\n")
    return summary


def _earlier(path: Path) -> dict[str, Any] | None:
    """The figures of the report before this one; a file that is something else is not overwritten."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT or not isinstance(found["wordings"], list) or "last_seen" not in found:
            raise ValueError
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{path}: is no report of this version of bounceml; move it away, or name another page with -o") from None
    return dict(found)


def _put(path: Path, content: str) -> None:
    """Write a file as a whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(content, encoding="utf-8", newline="")
        os.replace(part, path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name another page with -o") from error
