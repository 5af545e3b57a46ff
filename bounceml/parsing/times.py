"""Times as inputs write them, to ISO 8601: in UTC where the zone is told, and without a zone where it is not."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_YEARS = range(1990, 2101)  # any other is of a clock that was never set
_EPOCH = re.compile(r"\d{9,13}(?:\.\d*)?")
_EARLIEST, _LATEST = 10**8, 10**13  # numbers of 9 to 13 digits
_MILLISECONDS = 10**11  # from here on, a number counts these: as seconds it would be the year 5138
_STAMP = re.compile(r"(?:<\d{1,3}>(?:1 )?)?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?) ?(Z|[+-]\d\d:?\d\d)?(?=\s)")
_SYSLOG = re.compile(r"(?:<\d{1,3}>)?([A-Z][a-z]{2}) ([ \d]\d) (?:(\d{4}) )?(\d\d:\d\d:\d\d)")  # RFC 3164 section 4.1.2
_MONTHS = {"Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6, "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12}
_TAI64N = re.compile(r"@([0-9a-f]{16})[0-9a-f]{8} ")


def iso(value: object) -> str | None:
    """Return a time to the second, or None where there is none that can be read.

    Parameters
    ----------
    value
        Seconds or milliseconds since 1970, as a number or in digits, a text by ISO 8601 or RFC 5322, or a ``datetime``.

    Examples
    --------
    >>> iso("2024-05-01 08:00:00+0200"), iso(1714543200), iso("Wed, 1 May 2024 06:00:00 GMT"), iso("yesterday")
    ('2024-05-01T06:00:00Z', '2024-05-01T06:00:00Z', '2024-05-01T06:00:00Z', None)

    """
    try:
        moment = _moment(value)
        if moment is None or moment.year not in _YEARS:
            return None
        if moment.tzinfo not in (None, UTC):
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError, TypeError, IndexError):  # the last two are of the email package
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _moment(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if type(value) is int:  # most are, and need no pattern
        return _since_epoch(value)
    text = str(value).strip()
    if _EPOCH.fullmatch(text):
        return _since_epoch(float(text))
    if text[:4].isdecimal():
        return datetime.fromisoformat(text)
    if not isinstance(value, str):
        return None
    from email.utils import parsedate_to_datetime  # 15 ms that a log need not pay for

    return parsedate_to_datetime(text)


def _since_epoch(number: float) -> datetime | None:
    if not _EARLIEST <= number < _LATEST:
        return None
    return datetime.fromtimestamp(number / 1000 if number >= _MILLISECONDS else number, UTC)


def of_line(line: str, now: datetime | None = None) -> str | None:
    """Return the time that opens a line of a log.

    A line that names no year (RFC 3164) is of the twelve months before ``now``, on the clock of whoever wrote it.

    >>> of_line("2024-05-01T08:00:02.000001+02:00 mx1 postfix/smtp[104]: …")
    '2024-05-01T06:00:02Z'
    >>> of_line("May  1 12:00:00 mx postfix/smtp[7]: …", datetime(2025, 4, 1))
    '2024-05-01T12:00:00'
    """
    if found := _STAMP.match(line):
        return _of_second(found[1][:19], found[2] or "")
    if (found := _SYSLOG.match(line)) and found[1] in _MONTHS:
        today = (now or datetime.now()).date()
        return _dated(_MONTHS[found[1]], int(found[2]), found[3], found[4], (today + timedelta(days=1)).isoformat())
    if found := _TAI64N.match(line):
        return iso(int(found[1], 16) - 2**62 - 10)  # tai64nlocal(8); libtai begins ten seconds before 1970
    return None


@lru_cache(4096)  # a log repeats its seconds
def _of_second(second: str, zone: str) -> str | None:
    return iso(second + zone)


@lru_cache(4096)
def _dated(month: int, day: int, year: str | None, clock: str, tomorrow: str) -> str | None:
    """The last time of that name before the end of tomorrow: clocks differ."""
    latest = int(tomorrow[:4])
    for candidate in (int(year),) if year else range(latest, latest - 8, -1):  # 29 February is in one of eight, at the worst
        found = iso(f"{candidate:04}-{month:02}-{day:02}T{clock}")
        if found and (year or found[:10] <= tomorrow):
            return found
    return None
