"""Raw input to replies, one per recipient; what cannot be read becomes a reply with ``error``, never nothing.

Forms, most telling sign first (``recognise`` asks in this order):

jsonl   one JSON object a line, the reply in one of its fields
csv     a table with a header line, the reply in one of its columns
eml     one raw mail
reply   one reply a line
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from bounceml.parsing import rows
from bounceml.values import Reply

_SUFFIXES = {".eml": "eml", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
# Two header fields in a row, or the envelope line of a mailbox (RFC 5322 section 2.2, RFC 4155).
_MAIL = re.compile(rb"\A(?:From [^\n]+\n|\s*)(?:[A-Za-z][A-Za-z0-9-]*:[^\n]*\r?\n(?:[ \t][^\n]*\r?\n)*){2}")


def _mail(file: BinaryIO, source: str | None, _column: str | None) -> Iterator[Reply]:
    from bounceml.parsing import mail  # the email package costs 15 ms that a pasted line need not pay

    yield from mail.read(file.read(), source)


READERS: dict[str, Callable[[BinaryIO, str | None, str | None], Iterator[Reply]]] = {
    "jsonl": rows.read_jsonl,
    "csv": rows.read_csv,
    "eml": _mail,
    "reply": rows.read_lines,
}


def recognise(head: bytes, name: str = "") -> str:
    """Return the form of an input, from its first bytes and the suffix of its name.

    >>> recognise(b'{"text": "550 no such user"}'), recognise(b"550 no such user")
    ('jsonl', 'reply')
    """
    if form := _SUFFIXES.get(Path(name).suffix.lower()):
        return form
    if head.lstrip().startswith(b"{"):
        return "jsonl"
    return "eml" if _MAIL.match(head) else "reply"


def read(file: BinaryIO, form: str, source: str | None = None, column: str | None = None) -> Iterator[Reply]:
    """Yield the replies of an open file, in its order.

    Parameters
    ----------
    file
        The input, as bytes.
    form
        A key of ``READERS``.
    source
        Its path, for ``Reply.source``.
    column
        The column or field that holds the reply, for tables.

    """
    return READERS[form](file, source, column)
