"""Mail logs to replies: one for each delivery result that a line reports.

A line is of a program where that program's reader says so. Lines of a log that report no result (a connection, a
message removed from the queue, another daemon) give nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from itertools import chain, islice
from typing import BinaryIO, NamedTuple

from bounceml.values import Reply

_MAX_LINE = 32_768  # characters; syslog daemons cut at 8 KiB at most, Exim at 8 KiB (LOG_BUFFER_SIZE)
_HEAD_LINES = 200


class Program(NamedTuple):
    """A mail program whose log we read; a line is shown to ``logs_<name>.read`` where it has one of these signs."""

    name: str
    starts: tuple[str, ...]
    signs: tuple[str, ...]


# The reader that knows a line has the word, so the most particular signs stand first: Postfix's tag "postfix/smtpd" holds
# OpenSMTPD's, and Sendmail's words stand in other programs' lines.
PROGRAMS = (
    Program("postfix", (), ("postfix", "NOQUEUE: ", " status=", "reject: ")),
    Program("opensmtpd", (), (" evpid=", "smtpd", "failed-command")),
    Program("exim", ("20", "** ", "== "), (" ** ", " == ", "exim")),
    Program("sendmail", (), (", stat=", ", reject=", "sendmail", "sm-m")),
    Program("qmail", ("@4",), (": failure: ", ": deferral: ", ": success: ", "qmail", "starting delivery ")),
)
_STARTS = tuple(start for program in PROGRAMS for start in program.starts)

# The signs by what several have in common, which most lines have not.
_ALL_SIGNS = [sign for program in PROGRAMS for sign in program.signs]
_COMMON = ("=", ": ", "")
_SIGNS = [(common, [s for s in _ALL_SIGNS if next(c for c in _COMMON if c in s) == common]) for common in _COMMON]

# What opens a line of any log: the time of RFC 3164 section 4.1.2 or RFC 3339, a syslog priority before it.
_STAMP_STARTS = frozenset("<0123456789JFMASOND")
_TIME = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_STAMP = re.compile(
    rf"(?:<\d{{1,3}}>(?:1 )?)?(?:[A-Z][a-z]{{2}} [ \d]\d (?:\d{{4}} )?{_TIME}|\d{{4}}-\d\d-\d\d[T ]{_TIME}(?: ?(?:Z|[+-]\d\d:?\d\d))?)\s+"
)
_SYSLOG_TAG = re.compile(r"(?:[\w.:-]{1,255} )?[\w./@-]{1,80}(?:\[\d{1,12}\])?: ")
# A reply code or enhanced code, such as a program that we do not know may log.
_CODE = re.compile(r"(?<![\d.])[45]\d\d[ -]#?[45]\.\d{1,3}\.\d{1,3}\b|[:>] [45]\d\d[ -]\S|(?<![\d.])[45]\.[1-7]\.\d{1,2}(?![\d.])")


@cache
def _reader(name: str) -> Callable[[str], list[Reply] | None]:
    read: Callable[[str], list[Reply] | None] = import_module(f"bounceml.parsing.logs_{name}").read
    return read


def _has_sign(line: str) -> bool:
    """Say whether a line may be of a program: the test that every pasted reply goes through, 1.5 µs."""
    for letters, signs in _SIGNS:  # loops, as a generator in any() takes twice the time
        if letters in line:
            for sign in signs:
                if sign in line:
                    return True
    return line.startswith(_STARTS)


def _read(line: str) -> tuple[str | None, list[Reply] | None]:
    """Return the program that a line is of, and the replies in it."""
    for name, starts, signs in PROGRAMS:
        for sign in signs:
            if sign in line:
                break
        else:
            if not starts or not line.startswith(starts):
                continue
        replies = _reader(name)(line)
        if replies is not None:
            return name, replies
    return None, None


def read_line(line: str) -> list[Reply] | None:
    """Return the replies of one log line.

    A line that tells of trouble with a host or client, but of no result for a mail, gives a reply of unknown outcome: who
    pasted it wants to know what it means. A delivery line that was cut off gives a reply with ``error``.

    Parameters
    ----------
    line
        Any text; a fragment of a log line is read as well.

    Returns
    -------
    list[Reply] | None
        One reply per recipient; empty where the log line reports no result; None where the text is no log line.

    Examples
    --------
    >>> line = "May  1 12:00:00 mx postfix/smtp[7]: 4F2A91C0: to=<joe@example.com>, relay=none, dsn=5.4.4, status=bounced (no such host)"
    >>> [(reply.recipient, reply.outcome, reply.text) for reply in read_line(line)]
    [('joe@example.com', 'failed', 'no such host')]
    >>> read_line("May  1 12:00:00 mx cron[9]: session opened"), read_line("550 5.1.1 No such user")
    ([], None)

    """
    replies = _untimed(line)
    return _timed(line, replies, None) if replies else replies


def _untimed(line: str) -> list[Reply] | None:
    if len(line) > _MAX_LINE:
        return None
    replies = _read(line)[1] if _has_sign(line) else None
    if replies is None and line[:1] in _STAMP_STARTS and (stamp := _STAMP.match(line)):
        return _of_another_program(line[stamp.end() :])
    return replies


def _timed(line: str, replies: list[Reply], place: str | None) -> list[Reply]:
    from bounceml.parsing import times  # a pasted reply need not pay for it

    when = times.of_line(line)
    return [reply._replace(source=place, time=when) for reply in replies]


def _of_another_program(message: str) -> list[Reply]:
    """What a program that we do not know logged: worth an answer where it quotes a server."""
    tag = _SYSLOG_TAG.match(message)
    message = message[tag.end() :] if tag else message
    return [Reply(message.strip())] if _CODE.search(message) else []


def recognise_log(head: bytes) -> str | None:
    r"""Return the name of the program whose log begins with these bytes, or None where they are of no mail log.

    >>> recognise_log(b"2024-05-01 12:00:00 1s2AbC-0001xy-2D ** joe@example.com R=dns T=smtp: 550 No such user\n")
    'exim'
    """
    lines = head.decode("utf-8", "replace").splitlines()
    return _program_of(lines[:-1] if len(lines) > 1 else lines)  # the last may be cut


def _program_of(lines: list[str]) -> str | None:
    """Return the program with most lines, where at least half of the lines are of a log."""
    known: Counter[str] = Counter()
    lines = [line for line in lines if line.strip()]
    logged = 0
    for line in lines:
        name = _read(line)[0] if len(line) <= _MAX_LINE else None
        known.update([name] if name else [])
        logged += bool(name or _STAMP.match(line))
    return known.most_common(1)[0][0] if known and 2 * logged >= len(lines) else None


# --- files ------------------------------------------------------------------------------------------------------


def read_log(file: BinaryIO, source: str | None, _column: str | None = None) -> Iterator[Reply]:
    """Yield the replies of a mail log, in its order.

    Where most of the first lines are of a log, a line that is none is left out, and a warning tells how many; else it
    is a reply of its own. Lines that tell of trouble but of no result are left out of a log: its result follows.
    """
    from bounceml.parsing.logs_memory import Memory  # it needs two of the readers, which a single line need not

    numbered = enumerate(_lines(file), 1)
    head = list(islice(numbered, _HEAD_LINES))
    is_log = _program_of([line for _, line in head]) is not None
    memory, foreign = Memory(), 0
    for number, line in chain(head, numbered):
        place = f"{source}:{number}" if source else None
        if len(line) > _MAX_LINE:
            yield Reply("", source=place, error=f"{place or f'line {number}'}: longer than {_MAX_LINE} characters; it was not read")
            continue
        replies = _untimed(line)
        if replies is None and not is_log and line:
            replies = [Reply(line)]
        foreign += replies is None and bool(line)
        for reply in memory.complete(line, _timed(line, replies, place) if replies else []):
            if reply.error:
                yield reply._replace(source=place, error=f"{place or f'line {number}'}: {reply.error}")
            elif reply.outcome != "unknown" or not is_log:
                yield reply if reply.source == place else reply._replace(source=place)
    if foreign:
        import logging  # 5 ms that a pasted line need not pay

        logging.getLogger(__name__).warning("%s: %d lines are of no mail log; they were left out", source or "input", foreign)


def _lines(file: BinaryIO) -> Iterator[str]:
    """Yield the lines; of one that is too long, its beginning, so that memory stays bounded."""
    limit = 4 * _MAX_LINE  # bytes: UTF-8 takes at most four a character
    while raw := file.readline(limit + 4):
        rest = raw
        while len(rest) > limit and not rest.endswith(b"\n"):
            rest = file.readline(limit + 4)
        yield _decoded(raw)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode().strip()
    except UnicodeDecodeError:
        from bounceml.parsing import decode  # it brings the HTML parser, which a log in UTF-8 need not pay for

        return decode.line(raw).strip()
