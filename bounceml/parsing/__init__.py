"""Raw input to replies, one per recipient; what cannot be read becomes a reply with ``error``, never nothing.

Forms, most telling sign first (``recognise`` asks in this order):

events  webhooks of sending services and JSON logs, each a JSON object or an array of them (``EVENTS``)
parquet a table in Apache Parquet, the reply in one of its columns
powermta  PowerMTA's accounting table
jsonl   one JSON object a line, the reply in one of its fields
csv     a table with a header line, the reply in one of its columns
mbox    mails one after the other, each below a line that begins with "From "
eml     one raw mail
postfix …  the log of a mail server (``LOGS``)
reply   one reply a line
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from bounceml.parsing import containers, logs, rows
from bounceml.values import Reply

_SUFFIXES = {".eml": "eml", ".mbox": "mbox", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
# Two header fields in a row (RFC 5322 section 2.2), with or without the envelope line that mailboxes and pipes put above.
_MAIL = re.compile(rb"\A(?:From [^\n]+\n|\s*)(?:[A-Za-z][A-Za-z0-9-]*:[^\n]*\n(?:[ \t][^\n]*\n)*){2}")


def read_mail(raw: bytes | None, source: str | None = None) -> Iterator[Reply]:
    """Yield the replies of one mail, or one with ``error`` where the mail is too large (None) or defeats the readers."""
    from bounceml.parsing import mail  # the email package costs 15 ms that a pasted line need not pay

    if raw is None:
        why = f"a mail of more than {containers.MAX_MAIL >> 20} MB; it was not read"
    else:
        try:
            yield from mail.read(raw, source)
        except Exception as error:  # whatever a hostile mail brings about, the mails after it have their answer
            why = f"this mail could not be read ({type(error).__name__}: {error}); please report it"
        else:
            return
    yield Reply("", source=source, error=f"{source or 'input'}: {why}")


def _mail(file: BinaryIO, source: str | None, _column: str | None) -> Iterator[Reply]:
    yield from read_mail(containers.whole(file), source)


def _mbox(file: BinaryIO, source: str | None, _column: str | None) -> Iterator[Reply]:
    for number, raw in enumerate(containers.mails(file), 1):
        yield from read_mail(raw, f"{source}#{number}" if source else None)


# These three bring modules that a pasted line need not pay for.
def _events(file: BinaryIO, source: str | None, _column: str | None) -> Iterator[Reply]:
    from bounceml.parsing import events

    yield from events.read_events(file, source)


def _powermta(lines: Iterable[bytes], source: str | None, _column: str | None) -> Iterator[Reply]:
    from bounceml.parsing import logs_powermta

    yield from logs_powermta.read(lines, source)


def _parquet(file: BinaryIO, source: str | None, column: str | None) -> Iterator[Reply]:
    from bounceml.parsing import parquet

    yield from parquet.read(file, source, column)


# Forms of which each line is read by itself.
BY_LINE = {"reply": rows.read_lines, "jsonl": rows.read_jsonl}


def read_block(form: str, source: str | None, column: str | None, lines: Sequence[bytes | None], first: int) -> Iterator[Reply]:
    """Yield the replies of some lines of a stream, as ``containers.blocks`` gives them; ``first`` is the number of the first."""
    reader = BY_LINE[form]
    whole = [line for line in lines if line is not None]
    if len(whole) == len(lines):
        yield from reader(whole, source, column, first)
        return
    for number, line in enumerate(lines, first):
        if line is None:
            place = rows.place(source, number)
            why = f"a line of more than {containers.MAX_LINE} bytes; it was not read"
            yield Reply("", source=place, error=f"{place or f'line {number}'}: {why}")
        else:
            yield from reader([line], source, column, number)


def _by_line(form: str) -> Callable[[BinaryIO, str | None, str | None], Iterator[Reply]]:
    def read(file: BinaryIO, source: str | None, column: str | None) -> Iterator[Reply]:
        number = 1
        for lines in containers.blocks(file):
            yield from read_block(form, source, column, lines, number)
            number += len(lines)

    return read


LOGS = tuple(program.name for program in logs.PROGRAMS)
# All are read by the same table of paths; the names are for those who want to say what they have.
EVENTS = ("events", "kumomta", "halon", "ses", "sendgrid", "mailgun", "postmark", "sparkpost", "mandrill", "tencent", "aliyun")
READERS: dict[str, Callable[[BinaryIO, str | None, str | None], Iterator[Reply]]] = {
    **dict.fromkeys(EVENTS, _events),
    "powermta": containers.bounded(_powermta),
    "parquet": _parquet,
    "csv": containers.bounded(rows.read_csv),
    "mbox": _mbox,
    "eml": _mail,
    **dict.fromkeys(LOGS, logs.read_log),
    **{form: _by_line(form) for form in BY_LINE},
}


def form_of_name(name: str) -> str | None:
    """Return the form that the suffix of a file's name stands for, if any."""
    return _SUFFIXES.get(Path(name).suffix.lower())


def recognise(head: bytes, name: str = "") -> str:
    """Return the form of an input, from its first bytes and the suffix of its name.

    >>> recognise(b'{"text": "550 no such user"}'), recognise(b"550 no such user")
    ('jsonl', 'reply')
    """
    if head.startswith(b"PAR1"):
        return "parquet"
    if special := _event_or_record(head):
        return special
    if form := form_of_name(name):
        return form
    if head.lstrip().startswith(b"{"):
        return "jsonl"
    if containers.begins_mailbox(head):
        return "mbox"
    return "eml" if _MAIL.match(head) else logs.recognise_log(head) or "reply"


def _event_or_record(head: bytes) -> str | None:
    """Return the form of JSON events and PowerMTA's table, which look like JSON lines and CSV of any other kind."""
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[", b"m"):
        from bounceml.parsing import events

        return "events" if events.recognise(head) else None
    if b"dsnDiag" in head or b"bounceCat" in head:
        from bounceml.parsing import logs_powermta

        return "powermta" if logs_powermta.recognise(head) else None
    return None


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
