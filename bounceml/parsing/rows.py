"""Inputs of one reply a row: plain lines, CSV and TSV, JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from itertools import chain, islice
from types import ModuleType
from typing import Any, NamedTuple

from bounceml.errors import InputError
from bounceml.parsing import logs
from bounceml.values import Reply

# The columns that hold a reply where none is named, in the order they are looked for.
REPLY_COLUMNS = ("text", "reply", "diagnostic_code", "diagnostic", "smtp_response", "response", "reason", "message", "error")
RECIPIENT_COLUMNS = ("recipient", "email", "rcpt", "to")
TIME_COLUMNS = ("time", "timestamp", "date", "bounced_at", "event_time")

_JSON = json.JSONDecoder()
_NAMED = 20  # columns that a message lists

# Chinese mail systems still write GB18030; Latin-1 takes any bytes and comes last.
_ENCODINGS = ("utf-8", "gb18030", "latin-1")


def _decode(line: bytes) -> str:
    for encoding in _ENCODINGS:
        try:
            return line.decode(encoding).removeprefix("\ufeff")
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes any bytes")


def place(source: str | None, number: int) -> str | None:
    """Return where a row stands: the path of its file, where it has one, and its number."""
    return f"{source}:{number}" if source else None


def from_text(text: str) -> list[Reply]:
    """Return the replies that one text holds: those of a mail-log line, else the text itself.

    A log line that reports no result is kept as what it is: no bounce.
    """
    replies = logs.read_line(text)
    if replies is None:
        return [Reply(text)]
    return replies or [Reply(text, outcome="not_a_bounce")]


class Known(NamedTuple):
    """What a row tells besides its reply."""

    id: str | None
    source: str | None
    recipient: str | None
    columns: Mapping[str, object] | None
    time: str | None


def replies_in(text: str, known: Known) -> Iterator[Reply]:
    """Yield the reply that stands in a row, or those of the log line that stands there."""
    if (logged := logs.read_line(text)) is None:
        yield Reply(text, known.id, known.source, known.recipient, columns=known.columns, time=known.time)
    else:
        yield from _logged(text, logged, known)


def _logged(text: str, logged: list[Reply], known: Known) -> Iterator[Reply]:
    """The replies of a log line that stands in a row; one without a result is no bounce."""
    for reply in logged or [Reply(text, outcome="not_a_bounce")]:
        yield reply._replace(
            id=known.id,
            source=known.source,
            recipient=reply.recipient or known.recipient,
            columns=known.columns,
            time=reply.time or known.time,
        )


def read_lines(lines: Iterable[bytes], source: str | None, _column: str | None, first: int = 1) -> Iterator[Reply]:
    """Yield one reply for each line that is not blank; ``first`` is the number of the first line."""
    for number, line in enumerate(lines, first):
        if text := _decode(line).strip():
            if (logged := logs.read_line(text)) is None:
                yield Reply(text, None, place(source, number))
            else:
                yield from _logged(text, logged, Known(None, place(source, number), None, None, None))


def _first(row: Mapping[str, object], names: Iterable[str]) -> object:
    for name in names:
        if value := row.get(name):
            return value
    return None


def time_of(value: object) -> str | None:
    """Return the time in a cell of ``TIME_COLUMNS`` in ISO 8601, where it is one."""
    if value is None:
        return None
    return _iso(value) if isinstance(value, str | int | float) else _times().iso(value)


@lru_cache(1024)  # rows in the order of their times repeat them
def _iso(value: object) -> str | None:
    found: str | None = _times().iso(value)
    return found


@cache
def _times() -> ModuleType:
    from bounceml.parsing import times  # most tables have no time, and need not pay for it

    return times


class NoColumn(str):
    """The error of a table or row without a column that holds the reply; its type tells so, for who words it anew."""

    __slots__ = ()


def reply_column(columns: Collection[str], wanted: str | None) -> str:
    """Return the column that holds the reply.

    Raises
    ------
    InputError
        Where there is no such column.

    """
    for name in (wanted,) if wanted else REPLY_COLUMNS:
        if name in columns:
            return name
    sought = f"no column {wanted!r}" if wanted else "no column that holds the reply"
    there = ", ".join(map(str, islice(columns, _NAMED))) + (", …" if len(columns) > _NAMED else "")
    raise InputError(f"{sought}; there are {there or 'none'}: name one with --column")


def replies_of(row: dict[str, Any], wanted: str | None, source: str | None, number: int) -> Iterator[Reply]:
    """Yield the reply in a row of a table, or those of the log line in it; all columns but ``id`` go with it.

    Parameters
    ----------
    row
        The row, by column; the replies keep it.
    wanted
        The column that holds the reply, where one is named.
    source, number
        The table's path, where it has one, and the line or row in it.

    """
    given = row.pop("id", None)
    recipient = _first(row, RECIPIENT_COLUMNS)
    known = Known(
        None if given is None else str(given),
        place(source, number),
        None if recipient is None else str(recipient),
        row or None,
        time_of(_first(row, TIME_COLUMNS)),
    )
    try:
        text = row[reply_column(row, wanted)]
    except InputError as error:
        yield Reply("", *known[:3], columns=known.columns, time=known.time, error=NoColumn(f"{known.source or f'line {number}'}: {error}"))
        return
    yield from replies_in("" if text is None else str(text), known)


def _distinct(header: Iterable[str]) -> list[str]:
    """The names of a table's columns; one without a name, or with that of another, is named by its number.

    >>> _distinct(["id", "", "text", "text"])
    ['id', 'column_2', 'text', 'column_4']
    """
    names: list[str] = []
    for number, name in enumerate(header, 1):
        names.append(name if name and name not in names else f"column_{number}")
    return names


def _parts(line: str) -> Iterable[str]:
    """The lines in a line that ends in LF: a bare CR ends one too, as on old Macs."""
    return io.StringIO(line, newline="") if "\r" in line[:-2] else (line,)


def by_column(names: list[str], cells: list[str]) -> dict[str, str]:
    """Return a row by column; cells beyond the header are named by their number, so that none is lost."""
    more = [f"column_{number}" for number in range(len(names) + 1, len(cells) + 1)]
    return dict(zip([*names, *more], cells, strict=False))


class _Lines(Iterator[str]):
    """Lines that can be taken back as long as their row is not complete."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 0
        self.at_end = False

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines, None)
        if line is None:
            self.at_end = True
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        return line

    def take_back(self) -> None:
        """Have all taken lines but the first read once more."""
        self.number -= len(self.taken) - 1
        self._again.extendleft(reversed(self.taken[1:]))
        self.at_end = False


def table(lines: Iterator[str], delimiter: str = ",") -> Iterator[tuple[int, list[str] | None]]:
    """Yield the rows of a table, each with the number of its last line.

    A quote that is never closed takes all lines behind it into its cell, up to the end or the limit of ``csv``. Then there
    is None in place of the row, with the number of the line that it begins in, and the lines behind are rows of their own.
    """
    source = _Lines(lines)
    reader = csv.reader(source, delimiter=delimiter)
    while True:
        source.taken.clear()
        try:
            cells = next(reader, None)
            if cells is None:
                return
        except csv.Error:
            cells = None
        if cells is not None and not source.at_end:
            yield source.number, cells
        else:
            source.take_back()
            reader = csv.reader(source, delimiter=delimiter)
            yield source.number, None


def unclosed(source: str | None, number: int) -> Reply:
    """Return what stands for a row whose quote is never closed."""
    where = place(source, number)
    why = "a quote opens in this row and is not closed; mend the row (those below are read)"
    return Reply("", source=where, error=f"{where or f'line {number}'}: {why}")


def read_csv(file: Iterable[bytes], source: str | None, column: str | None) -> Iterator[Reply]:
    """Yield one reply for each row of a table with a header line; tabs or semicolons may stand for the commas."""
    lines = (part for line in file for part in _parts(_decode(line)))
    header = next(lines, "")
    found = table(chain([header], lines), delimiter=max(",\t;", key=header.count))
    cells = next(found, (1, []))[1]
    if cells is None:
        yield Reply("", source=source, error=f"{source or 'input'}: a quote opens in the header line and is not closed; mend it")
        return
    names = _distinct(cells)
    try:
        position = names.index(reply_column(names, column))
    except InputError as error:
        yield Reply("", source=source, error=NoColumn(f"{source or 'input'}: {error}"))
        return
    for number, cells in found:
        if cells is None:
            yield unclosed(source, number)
        elif len(cells) > position:
            yield from replies_of(by_column(names, cells), names[position], source, number)
        elif cells:
            where = place(source, number)
            why = f"{where or f'line {number}'}: too few columns for {names[position]!r}; mend the row"
            yield from (reply._replace(error=why) for reply in replies_of(by_column(names, cells), names[position], source, number))


def read_jsonl(lines: Iterable[bytes], source: str | None, column: str | None, first: int = 1) -> Iterator[Reply]:
    """Yield one reply for each JSON object, one a line; ``first`` is the number of the first line."""
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        where = place(source, number)
        try:
            text = _decode(line).strip()
            row, end = _JSON.raw_decode(text)  # json.loads looks for blanks around it, with two patterns
            if end != len(text):
                raise InputError(f"Extra data: column {end + 1}")
            if not isinstance(row, dict):
                raise InputError("not a JSON object")
        except (InputError, ValueError, RecursionError) as error:
            yield Reply("", source=where, error=f"{where or f'line {number}'}: {error}")
        else:
            yield from replies_of(row, column, source, number)
