"""What somebody asks by the form of the page: what was pasted and which files, to whom it is told, and in what shape.

Everything is read as a stream; the uploads lie in temporary files that are gone with the request.
"""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, BinaryIO, NamedTuple, cast

from starlette.datastructures import FormData, UploadFile

from bounceml import parsing, stream, tables, text
from bounceml.errors import InputError
from bounceml.parsing import containers, rows
from bounceml.values import Reply
from bounceml.web import uploads
from bounceml.web.settings import Settings

SHAPES = ("page", "csv", "jsonl", "suppression", "report.html", "report.csv", "report.json")
ORDERS = ("input", "recipient", "category", "confidence", "action")

# A line that is a reply of its own: its code, an address before it or not. A hyphen behind the code continues on the next line
# (RFC 5321 section 4.2.1). No two repetitions in a row take the same character, as the text is anybody's.
_REPLY_LINE = re.compile(r"\s*(?:<?[^\s@<>]{1,255}@[^\s@<>:,;]{1,255}>?[\s:,;]*)?[245]\d\d[ \t]\s*\S")
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


def field(form: FormData, name: str) -> str:
    """Return a field of a form, empty where it is left out; half a surrogate pair in it, which nothing can encode, is a question mark."""
    value = form.get(name, "")
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


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
    do = field(form, "do")
    again = do not in ("", "explain") or "sort" in form or "pick" in form  # a button of the answer: what it was about still holds
    example = field(form, "example")
    pasted = field(form, "text")
    files = tuple(item for item in form.getlist("files") if isinstance(item, UploadFile) and item.filename)
    if example.isdecimal() and int(example) < len(examples):
        pasted, files = examples[int(example)]["text"], ()
    return Asked(
        audience=_one_of(field(form, "audience"), tables.AUDIENCES, "sender"),
        shape=_one_of(do, SHAPES, "page"),
        pasted=pasted,
        by_line=do == "lines" or (again and field(form, "each") == "1"),
        files=files,
        rows=_filter(form) if again and do != "lines" else Filter(),
        explicit=again or do == "explain" or bool(example),
    )


def _filter(form: FormData) -> Filter:
    return Filter(
        words=field(form, "words").strip(),
        category=_one_of(field(form, "pick") or field(form, "category"), tables.taxonomy().categories, ""),
        dead="dead" in form,
        order=_one_of(field(form, "sort") or field(form, "order"), ORDERS, "input"),
    )


# --- to replies -------------------------------------------------------------------------------------------------


class _Bounds:
    """What a request may take; where it takes more, a method raises ``DeclinedError``."""

    def __init__(self, settings: Settings, until: float) -> None:
        self.max_bytes = settings.max_bytes
        self._max_rows = settings.max_rows
        self._until = until
        self._rows = self._bytes = 0

    def add_rows(self, count: int) -> None:
        """Count rows that were read, blank ones too."""
        self._rows += count
        self.see_rows(self._rows)

    def see_rows(self, count: int) -> None:
        """See that these are not too many."""
        if count > self._max_rows:
            raise DeclinedError(413, "too_many_rows", count=f"{self._max_rows:,}")

    def see_time(self) -> None:
        """See that somebody still waits for the answer."""
        if time.monotonic() > self._until:
            raise DeclinedError(503, "busy")

    def add_bytes(self, count: int, name: str) -> None:
        """Count bytes that are read of the file of this name; all files may hold as much as one."""
        self._bytes += count
        if self._bytes > uploads.UNPACKED * self.max_bytes:
            raise DeclinedError(413, "unpacks_too_large", name=name)
        self.see_time()


class _Bounded(io.RawIOBase):
    """A file of a request, read within its bounds: the blank lines of a table make no entry that could be counted."""

    def __init__(self, file: BinaryIO, name: str, bounds: _Bounds) -> None:
        self._file = file
        self._name = name
        self._bounds = bounds

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._bounds.add_bytes(len(piece), self._name)
        return piece


def replies(asking: Asked, settings: Settings, until: float, words: Mapping[str, Any]) -> Iterator[Reply]:
    """Yield the replies of all that is asked about, the pasted text first.

    Parameters
    ----------
    asking
        The filled form.
    settings
        Those of the service.
    until
        The time of ``time.monotonic`` after which nobody waits for the answer.
    words
        The texts of the page in its language.

    Raises
    ------
    DeclinedError
        Where it is too much, or takes too long.

    """
    bounds = _Bounds(settings, until)
    found = chain(_of_text(asking.pasted, asking.by_line, bounds), *(_of_upload(item, bounds, words) for item in asking.files))
    for number, reply in enumerate(found, 1):
        bounds.see_rows(number)
        bounds.see_time()
        yield reply._replace(error=_in_words(reply, words)) if isinstance(reply.error, rows.NoColumn) else reply


def _in_words(reply: Reply, words: Mapping[str, Any]) -> str:
    return f"{reply.source}: {words['no_column']}" if reply.source else str(words["no_column"])


def is_read_as_one(pasted: str, by_line: bool) -> bool:
    """Say whether several lines that were pasted are taken for one bounce, which they may not be."""
    return not by_line and _lines(pasted) > 1 and _form(pasted) == "reply" and not _each_line(pasted)


def _lines(pasted: str) -> int:
    return sum(1 for line in pasted.splitlines() if line.strip())


def _form(pasted: str) -> str:
    head = pasted[: containers.HEAD]
    found = parsing.recognise(head.encode())
    return "csv" if found == "reply" and _is_table(head) else found


def _is_table(head: str) -> bool:
    """Say whether the first line is the header of a table, as it is copied from an export: a text has no name to tell it."""
    header, _, below = head.strip().partition("\n")
    cells = max((header.split(delimiter) for delimiter in ",\t;"), key=len)
    return bool(below) and len(cells) > 1 and any(cell.strip('"\r') in rows.REPLY_COLUMNS for cell in cells)


def _each_line(pasted: str) -> bool:
    return all(_REPLY_LINE.match(line) for line in pasted.splitlines() if line.strip())


def _of_text(pasted: str, by_line: bool, bounds: _Bounds) -> Iterator[Reply]:
    if not pasted.strip():
        return
    pasted = pasted.replace("\r\n", "\n")  # as forms send line ends
    raw = pasted.encode()
    form = "reply" if by_line else _form(pasted)
    if form == "reply" and not by_line and (_lines(pasted) == 1 or not _each_line(pasted)):
        yield from _as_body(raw) or rows.from_text(pasted.strip())
    else:
        yield from _of_file(io.BytesIO(raw.lstrip() if form == "csv" else raw), "", bounds, form)


def _as_body(raw: bytes) -> list[Reply]:
    """The replies on recipients that a copied bounce names; none where it names nobody, or is one line."""
    if b"\n" not in raw.strip():
        return []
    found = list(parsing.read_mail(_AS_BOUNCE + raw))
    return found if all(reply.recipient and reply.outcome != "not_a_bounce" and reply.error is None for reply in found) else []


def _of_file(file: BinaryIO, name: str, bounds: _Bounds, form: str = "auto") -> Iterator[Reply]:
    for entry in stream.of_file(cast(BinaryIO, _Bounded(file, name, bounds)), name, form):
        bounds.add_rows(len(entry.items))
        for reply in entry.replies:
            yield reply if reply.source else reply._replace(source=None)


def _of_upload(upload: UploadFile, bounds: _Bounds, words: Mapping[str, Any]) -> Iterator[Reply]:
    name = text.visible(os.path.basename((upload.filename or "").replace("\\", "/")))
    try:
        with uploads.opened(upload.file, name, bounds.max_bytes) as (file, plain):
            yield from _of_file(file, plain, bounds)
    except uploads.TooLargeError:
        raise DeclinedError(413, "unpacks_too_large", name=name) from None
    except uploads.ArchiveError:
        yield Reply("", source=name, error=words["packed"].format(name=name))
    except InputError as error:
        yield Reply("", source=name, error=f"{name}: {error}")
