"""When something happened, from whatever an input writes, and how often by hour, day, month or year."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

_ISO = re.compile(r"\s*(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?)?")
_SYSLOG = re.compile(r"([A-Z][a-z]{2}) ([ \d]\d) (?:(\d{4}) )?(\d\d):(\d\d):(\d\d)")  # RFC 3164 section 4.1.2: mostly without a year
_EPOCH = re.compile(r"\d{9,13}(?:\.\d+)?")
_TAI64N = re.compile(r"@4([0-9a-f]{15})[0-9a-f]{8}")
_TAI_OFFSET = 10  # seconds between the labels that multilog writes and Unix time (libtai, tai_now)
_MONTHS = {"Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6, "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12}
_YEARS = range(1990, 2100)  # what lies outside is a mistake, and would stretch the timeline to nothing


class Clock:
    """Reads times as they are written, on the clock of whoever wrote them; numbers since 1970 are UTC.

    A log that names no year is of the last twelve months before ``now``.
    """

    def __init__(self, now: datetime) -> None:
        self._tomorrow = now.replace(tzinfo=None) + timedelta(days=1)
        self.read = lru_cache(4096)(self._read)  # a log repeats its seconds

    def _read(self, written: str) -> str | None:
        """Return "2026-11-03T10:00:00", or None for what is no time.

        >>> clock = Clock(datetime(2026, 11, 5))
        >>> clock.read("Nov  3 10:00:00"), clock.read("Dec  3 10:00:00"), clock.read("1793700000")
        ('2026-11-03T10:00:00', '2025-12-03T10:00:00', '2026-11-03T10:00:00')
        """
        try:
            found = self._datetime(written)
        except (ValueError, OverflowError, OSError):
            return None
        return found.isoformat(timespec="seconds") if found and found.year in _YEARS else None

    def _datetime(self, written: str) -> datetime | None:
        if match := _ISO.match(written):
            return datetime(*(int(part or 0) for part in match.groups()))  # type: ignore[arg-type]  # the six of them in order
        if (match := _SYSLOG.match(written)) and match[1] in _MONTHS:
            return self._of_syslog(match)
        if _EPOCH.fullmatch(written):
            seconds = float(written)
            return _utc(seconds / 1000 if seconds > 1e11 else seconds)
        if match := _TAI64N.match(written):
            return _utc(int(match[1], 16) - _TAI_OFFSET)
        return parsedate_to_datetime(written).replace(tzinfo=None)

    def _of_syslog(self, match: re.Match[str]) -> datetime:
        month, day, clock = _MONTHS[match[1]], int(match[2]), (int(match[4]), int(match[5]), int(match[6]))
        if match[3]:
            return datetime(int(match[3]), month, day, *clock)
        for year in range(self._tomorrow.year, self._tomorrow.year - 8, -1):  # 29 February is in one of eight, at the worst
            try:
                found = datetime(year, month, day, *clock)
            except ValueError:
                continue
            if found <= self._tomorrow:
                return found
        raise ValueError(match[0])


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


# --- the timeline -----------------------------------------------------------------------------------------------

UNITS = {"hour": 13, "day": 10, "month": 7, "year": 4}  # and how many characters of a time name one
_FORMATS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
_MOST = 200  # bars that are told apart on a page: eight days of hours, half a year of days


class Timeline:
    """Counts by kind and unit of time: hours, as long as those between the first and the last fit, then days, …"""

    def __init__(self) -> None:
        self.unit = "hour"
        self._counts: dict[str, Counter[str]] = {}
        self._first = self._last = ""

    def add(self, time: str, kind: str) -> None:
        """Count one of a kind at a time that a ``Clock`` has read."""
        key = time[: UNITS[self.unit]]
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = Counter()
            self._first, self._last = min(self._first or key, key), max(self._last, key)
            while len(list(_between(self._first, self._last, self.unit, _MOST + 1))) > _MOST and self.unit != "year":
                self._coarsen()
            found = self._counts[time[: UNITS[self.unit]]]
        found[kind] += 1

    def _coarsen(self) -> None:
        units = list(UNITS)
        self.unit = units[units.index(self.unit) + 1]
        length = UNITS[self.unit]
        coarse: dict[str, Counter[str]] = {}
        for key, counts in self._counts.items():
            coarse.setdefault(key[:length], Counter()).update(counts)
        self._counts, self._first, self._last = coarse, self._first[:length], self._last[:length]

    def bars(self) -> Iterator[tuple[str, Counter[str]]]:
        """Yield each unit from the first to the last, those in which nothing happened too."""
        for key in _between(self._first, self._last, self.unit, _MOST) if self._counts else ():
            yield key, self._counts.get(key, Counter())


def _between(first: str, last: str, unit: str, most: int) -> Iterator[str]:
    """Yield the units from the first to the last, at most so many."""
    at = datetime.strptime(first, _FORMATS[unit])
    for _ in range(most):
        key = at.strftime(_FORMATS[unit])
        yield key
        if key >= last:
            return
        if unit in ("hour", "day"):
            at += timedelta(**{f"{unit}s": 1})
        else:
            at = (at + timedelta(days=32 if unit == "month" else 366)).replace(day=1)
