"""What somebody asks by the form of the page: what was pasted and which files, to whom it is told, and in what shape.

Everything is read as a stream; the uploads lie in temporary files that are gone with the request.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO, NamedTuple

from starlette.datastructures import FormData, UploadFile

from bounceml import parsing, stream, tables, text
from bounceml.errors import InputError
from bounceml.parsing import containers, rows
from bounceml.values import Reply
from bounceml.web import uploads

SHAPES = ("page", "csv", "jsonl", "suppression", "report.html", "report.csv", "report.json")
ORDERS = ("input", "recipient", "category", "confidence", "action")

# A line that is a reply of its own: its code, an address before it or not. A hyphen behind the code continues on the next line
# (RFC 5321 section 4.2.1).
_REPLY_LINE = re.compile(r"\s*(?:<?[^\s@<>]+@[^\s@<>]+>?[\s:,;]*)?[245]\d\d[ \t]\s*\S")
# What a person copies from a bounce is the body of a mail; the readers of prose find the recipients in it.
_AS_BOUNCE = b"From: MAILER-DAEMON\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"


class DeclinedError(Exception):
    """What is asked cannot be answered: the status, the text of texts.toml that says why, and what fills it."""

    def __init__(self, status: int, why: str, **filled: object) -> None:
        super().__init__(why)
        self.status, self.why, self.filled = status, why, filled


class Filter(NamedTuple):
    """Which rows are shown, in which order: ``words`` in recipient or reply, a ``category``, or ``dead`` addresses only."""

    words: str = ""
    category: str = ""
    dead: bool = False
    order: str = "input"

    @property
    def narrows(self) -> bool:
        """Whether rows are left out."""
        return bool(self.words or self.category or self.dead)


class Asked(NamedTuple):
    """A filled form.

    Parameters
    ----------
    audience
        Who reads the answer.
    shape
        One of ``SHAPES``.
    pasted
        The text of the field.
    by_line
        Whether each line of it is a reply, whatever it looks like.
    files
        The uploads.
    rows
        Which rows are shown.
    explicit
        Whether an answer was asked for, and not only another language.

    """

    audience: str
    shape: str
    pasted: str
    by_line: bool
    files: tuple[UploadFile, ...]
    rows: Filter
    explicit: bool

    @property
    def empty(self) -> bool:
        """Whether there is nothing to answer."""
        return not self.pasted.strip() and not self.files


def _field(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def _one_of(value: str, allowed: Iterable[str], default: str) -> str:
    return value if value in allowed else default


def of_form(form: FormData, examples: list[dict[str, str]]) -> Asked:
    """Return what a form asks; a value that the page does not offer counts as left out.

    Parameters
    ----------
    form
        Its fields. ``do`` is the button that was pressed.
    examples
        Those of the page's language; the button ``example`` names one by its number.

    """
    do = _field(form, "do")
    again = do not in ("", "explain") or "sort" in form or "pick" in form  # a button of the answer: what it was about still holds
    example = _field(form, "example")
    pasted = _field(form, "text")
    files = tuple(item for item in form.getlist("files") if isinstance(item, UploadFile) and item.filename)
    if example.isdecimal() and int(example) < len(examples):
        pasted, files = examples[int(example)]["text"], ()
    return Asked(
        audience=_one_of(_field(form, "audience"), tables.AUDIENCES, "sender"),
        shape=_one_of(do, SHAPES, "page"),
        pasted=pasted,
        by_line=do == "lines" or (again and _field(form, "each") == "1"),
        files=files,
        rows=_filter(form) if again and do != "lines" else Filter(),
        explicit=again or do == "explain" or bool(example),
    )


def _filter(form: FormData) -> Filter:
    return Filter(
        words=_field(form, "words").strip(),
        category=_one_of(_field(form, "pick") or _field(form, "category"), tables.taxonomy().categories, ""),
        dead="dead" in form,
        order=_one_of(_field(form, "sort") or _field(form, "order"), ORDERS, "input"),
    )


# --- to replies -------------------------------------------------------------------------------------------------


def replies(asking: Asked, max_bytes: int, max_rows: int, packed: str) -> Iterator[Reply]:
    """Yield the replies of all that is asked about, the pasted text first.

    Parameters
    ----------
    asking
        The filled form.
    max_bytes, max_rows
        As in ``Settings``.
    packed
        The error of an archive; ``{name}`` is filled in.

    Raises
    ------
    DeclinedError
        Where it is too much.

    """
    found = chain(_of_text(asking.pasted, asking.by_line), *(_of_upload(item, max_bytes, packed) for item in asking.files))
    for number, reply in enumerate(found):
        if number >= max_rows:
            raise DeclinedError(413, "too_many_rows", count=f"{max_rows:,}")
        yield reply


def is_read_as_one(pasted: str, by_line: bool) -> bool:
    """Say whether several lines that were pasted are taken for one bounce, which they may not be."""
    return not by_line and _lines(pasted) > 1 and _form(pasted) == "reply" and not _each_line(pasted)


def _lines(pasted: str) -> int:
    return sum(1 for line in pasted.splitlines() if line.strip())


def _form(pasted: str) -> str:
    return parsing.recognise(pasted[: containers.HEAD].encode("utf-8", "surrogateescape"))


def _each_line(pasted: str) -> bool:
    return all(_REPLY_LINE.match(line) for line in pasted.splitlines() if line.strip())


def _of_text(pasted: str, by_line: bool) -> Iterator[Reply]:
    if not pasted.strip():
        return
    pasted = pasted.replace("\r\n", "\n")  # as forms send line ends
    raw = pasted.encode("utf-8", "surrogateescape")
    if _form(pasted) == "reply" and not by_line and (_lines(pasted) == 1 or not _each_line(pasted)):
        yield from _as_body(raw) or rows.from_text(pasted.strip())
    else:
        yield from _of_file(io.BytesIO(raw), "", "reply" if by_line else "auto")


def _as_body(raw: bytes) -> list[Reply]:
    """The replies on recipients that a copied bounce names; none where it names nobody, or is one line."""
    if b"\n" not in raw.strip():
        return []
    found = list(parsing.read_mail(_AS_BOUNCE + raw))
    return found if all(reply.recipient and reply.outcome != "not_a_bounce" and reply.error is None for reply in found) else []


def _of_file(file: BinaryIO, name: str, form: str = "auto") -> Iterator[Reply]:
    for entry in stream.of_file(file, name, form):
        for reply in entry.replies:
            yield reply if reply.source else reply._replace(source=None)


def _of_upload(upload: UploadFile, max_bytes: int, packed: str) -> Iterator[Reply]:
    name = text.visible(os.path.basename((upload.filename or "").replace("\\", "/")))
    try:
        with uploads.opened(upload.file, name, max_bytes) as (file, plain):
            yield from _of_file(file, plain)
    except uploads.TooLargeError as error:
        raise DeclinedError(413, "unpacks_too_large", name=name, size=error.limit >> 20) from None
    except uploads.ArchiveError:
        yield Reply("", source=name, error=packed.format(name=name))
    except InputError as error:
        yield Reply("", source=name, error=f"{name}: {error}")
