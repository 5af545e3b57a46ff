"""Times as inputs write them, to ISO 8601: in UTC where the zone is told, and without a zone where it is not."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_YEARS = range(1990, 2101)  # any other is of a clock that was never set
_EPOCH = re.compile(r"\d{9,13}(?:\.\d*)?")
_MILLISECONDS = 10**11  # from here on, a number counts these: as seconds it would be the year 5138
_STAMP = re.compile(r"(?:<\d{1,3}>(?:1 )?)?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?) ?(Z|[+-]\d\d:?\d\d)?(?=\s)")
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
        if moment.tzinfo:
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError, TypeError, IndexError):  # the last two are of the email package
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _moment(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    text = str(value).strip()
    if _EPOCH.fullmatch(text):
        number = float(text)
        return datetime.fromtimestamp(number / 1000 if number >= _MILLISECONDS else number, UTC)
    if text[:4].isdecimal():
        return datetime.fromisoformat(text)
    if not isinstance(value, str):
        return None
    from email.utils import parsedate_to_datetime  # 15 ms that a log need not pay for

    return parsedate_to_datetime(text)


def of_line(line: str) -> str | None:
    """Return the time that opens a line of a log; None where it is that of RFC 3164, which tells no year.

    >>> of_line("2024-05-01T08:00:02.000001+02:00 mx1 postfix/smtp[104]: …"), of_line("May  1 12:00:00 mx postfix/smtp[7]: …")
    ('2024-05-01T06:00:02Z', None)
    """
    if found := _STAMP.match(line):
        return iso(found[1] + (found[2] or ""))
    if found := _TAI64N.match(line):
        return iso(int(found[1], 16) - 2**62 - 10)  # tai64nlocal(8); libtai begins ten seconds before 1970
    return None
