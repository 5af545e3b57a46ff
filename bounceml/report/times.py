"""How often something happened, by hour, day, month or year."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache


@lru_cache(4096)
def local(time: str) -> str:
    """Return a time of ISO 8601 on this machine's clock; one without a zone is on the clock of whoever wrote it, and stays so."""
    return datetime.fromisoformat(time).astimezone().replace(tzinfo=None).isoformat() if time.endswith("Z") else time


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
        """Count one of a kind at a time on this machine's clock."""
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
