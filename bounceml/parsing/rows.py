"""Inputs of one reply a row: plain lines, CSV and TSV, JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator

from bounceml.errors import InputError
from bounceml.parsing import logs
from bounceml.values import Reply

# The columns that hold a reply where none is named, in the order they are looked for.
REPLY_COLUMNS = ("text", "reply", "diagnostic_code", "diagnostic", "smtp_response", "response", "reason", "message", "error")
RECIPIENT_COLUMNS = ("recipient", "email", "rcpt", "to")

# Chinese mail systems still write GB18030; Latin-1 takes any bytes and comes last.
_ENCODINGS = ("utf-8-sig", "gb18030", "latin-1")


def _decode(line: bytes) -> str:
    for encoding in _ENCODINGS:
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes any bytes")


def _place(source: str | None, number: int) -> str | None:
    return f"{source}:{number}" if source else None


def from_text(text: str) -> list[Reply]:
    """Return the replies that one text holds: those of a mail-log line, else the text itself.

    A log line that reports no result is kept as what it is: no bounce.
    """
    replies = logs.read_line(text)
    if replies is None:
        return [Reply(text)]
    return replies or [Reply(text, outcome="not_a_bounce")]


def read_lines(file: Iterable[bytes], source: str | None, _column: str | None) -> Iterator[Reply]:
    """Yield one reply for each line that is not blank."""
    for number, line in enumerate(file, 1):
        if text := _decode(line).strip():
            for reply in from_text(text):
                yield reply._replace(source=_place(source, number))


def _first(row: dict[str, object], names: Iterable[str]) -> str | None:
    return next((str(row[name]) for name in names if row.get(name)), None)


def _reply_column(columns: Iterable[str], wanted: str | None) -> str:
    found = list(columns)
    for name in (wanted,) if wanted else REPLY_COLUMNS:
        if name in found:
            return name
    sought = f"no column {wanted!r}" if wanted else "no column that holds the reply"
    raise InputError(f"{sought}; there are {', '.join(map(str, found)) or 'none'}: name one with --column")


def _replies(row: dict[str, object], column: str, place: str | None) -> Iterator[Reply]:
    given = row.get("id")
    for reply in from_text(str(row[column] if row[column] is not None else "")):
        recipient = reply.recipient or _first(row, RECIPIENT_COLUMNS)
        yield reply._replace(id=None if given is None else str(given), source=place, recipient=recipient)


def read_csv(file: Iterable[bytes], source: str | None, column: str | None) -> Iterator[Reply]:
    """Yield one reply for each row of a table with a header line; tabs or semicolons may stand for the commas."""
    lines = map(_decode, file)
    header = next(lines, "")
    delimiter = max(",\t;", key=header.count)
    names = next(csv.reader([header], delimiter=delimiter), [])
    try:
        name = _reply_column(names, column)
    except InputError as error:
        yield Reply("", source=source, error=f"{source or 'input'}: {error}")
        return
    table = csv.reader(lines, delimiter=delimiter)
    try:
        for cells in table:
            place = _place(source, table.line_num + 1)
            if len(cells) > names.index(name):
                yield from _replies(dict(zip(names, cells, strict=False)), name, place)
            elif cells:
                yield Reply("", source=place, error=f"{place or 'a row'}: too few columns for {name!r}; mend the row")
    except csv.Error as error:
        place = _place(source, table.line_num + 1)
        yield Reply("", source=place, error=f"{place or 'input'}: not readable as CSV ({error}); the rows from here on were not read")


def read_jsonl(file: Iterable[bytes], source: str | None, column: str | None) -> Iterator[Reply]:
    """Yield one reply for each JSON object, one a line."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        place = _place(source, number)
        try:
            row = json.loads(_decode(line))
            if not isinstance(row, dict):
                raise InputError("not a JSON object")
            yield from _replies(row, _reply_column(row, column), place)
        except (InputError, ValueError) as error:
            yield Reply("", source=place, error=f"{place or f'line {number}'}: {error}")
