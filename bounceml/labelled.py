"""Labelled replies as files of JSON lines: read and checked against the taxonomy, and one more row appended."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from bounceml import tables, text
from bounceml.errors import DataError, UsageError
from bounceml.values import Reply

REQUIRED = ("text", "category", "language", "provider", "source")
OPTIONAL = ("note", "accept", "documented", "row", "id")

# The source of a row that we worded ourselves, as a server might; such rows train and never measure.
OWN_WORDING = "own wording"


class Example(NamedTuple):
    """One labelled reply. ``place`` is its file and line; ``template`` what the model sees of it."""

    text: str
    template: str
    category: str
    language: str
    provider: str
    source: str
    place: str
    accept: tuple[str, ...] = ()
    documented: str | None = None
    row: str | None = None

    @property
    def measured(self) -> bool:
        """Whether the text is a real one, which may stand in a test fold."""
        return self.source != OWN_WORDING

    @property
    def right(self) -> frozenset[str]:
        """The categories that count as right for this text."""
        return frozenset((self.category, *self.accept))


def _check(row: dict[str, object], place: str) -> None:
    categories = tables.taxonomy().categories
    for field in REQUIRED:
        if not row.get(field) or not isinstance(row[field], str):
            raise DataError(f"{place}: field {field!r} is missing or empty; see data/README.md for the fields of a row")
    if extra := set(row) - {*REQUIRED, *OPTIONAL}:
        raise DataError(f"{place}: unknown field {sorted(extra)[0]!r}; fields are {', '.join((*REQUIRED, *OPTIONAL))}")
    named = [row["category"], *(row.get("accept") or [])]  # type: ignore[misc]
    for category in named:
        if category not in categories:
            raise DataError(f"{place}: {category!r} is not a category; `bounceml taxonomy` lists the {len(categories)} there are")
    if row.get("documented") and row["documented"] not in tables.taxonomy().documented:
        raise DataError(f"{place}: {row['documented']!r} is not a row of the documented table (S01 to S15)")


def _example(row: dict[str, object], place: str) -> Example:
    _check(row, place)
    original = str(row["text"])
    return Example(
        text=original,
        template=text.read(Reply(original)).template,
        category=str(row["category"]),
        language=str(row["language"]),
        provider=str(row["provider"]),
        source=str(row["source"]),
        place=place,
        accept=tuple(row.get("accept") or ()),  # type: ignore[arg-type]
        documented=row.get("documented"),  # type: ignore[arg-type]
        row=row.get("row"),  # type: ignore[arg-type]
    )


def read_file(path: Path) -> list[Example]:
    """Read one JSONL file of labelled replies.

    Raises
    ------
    DataError
        Naming the file, the line and what to mend, where a row is no JSON object, lacks a field or has an unknown category.

    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # a JSON string may hold what else Python takes for a line end
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error}); give a JSONL file of labelled replies") from None
    examples = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{place}: not JSON ({error.msg}); every line holds one object with text and category") from None
        if not isinstance(row, dict):
            raise DataError(f"{place}: not a JSON object; every line holds one object with text and category")
        examples.append(_example(row, place))
    return examples


def add(path: Path, row: dict[str, str]) -> None:
    """Append a row to a file of labelled replies; it is on the disk before this returns.

    Raises
    ------
    UsageError
        Where the file cannot be written.

    """
    try:
        with path.open("ab+") as file:
            # a last line without its end, as editors leave it or a full disk does, would swallow the row
            torn = file.seek(0, os.SEEK_END) > 0 and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
            line = json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace")
            file.write(b"\n" * torn + line + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name another file with --add-to") from None
