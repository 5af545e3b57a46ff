"""Counts of however many keys, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

KINDS = ("hard", "soft", "block", "unknown")


class Tally:
    """What is counted of one key: how often, of which kinds, categories and actions, and when first and last."""

    __slots__ = ("_causes", "count", "first", "kinds", "last")

    def __init__(self) -> None:
        self.count = 0
        self.kinds = dict.fromkeys(KINDS, 0)
        self._causes: dict[tuple[str, str], int] = {}
        self.first: str | None = None
        self.last: str | None = None

    def add(self, kind: str, category: str, action: str, time: str | None) -> None:
        """Count one verdict."""
        self.count += 1
        self.kinds[kind] += 1
        cause = (category, action)
        self._causes[cause] = self._causes.get(cause, 0) + 1
        if time:
            if self.first is None or time < self.first:
                self.first = time
            if self.last is None or time > self.last:
                self.last = time

    @property
    def cause(self) -> tuple[str, str]:
        """The most frequent category, and the action that goes with it."""
        return min(self._causes, key=lambda cause: (-self._causes[cause], cause))


class Bounded:
    """The tallies of the most frequent keys; those of the rarer half make room where there are too many.

    What is frequent all along is counted exactly; a key that was set aside and comes back begins anew, so its count is a
    lower bound. ``others`` tells how many counts were set aside.

    Examples
    --------
    >>> bounded = Bounded(2)
    >>> for key in "aaabbc":
    ...     bounded.of(key).add("soft", "mailbox_full", "retry", None)
    >>> [(key, tally.count) for key, tally in bounded.most()], bounded.others
    ([('a', 3), ('c', 1)], 2)

    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.others = 0
        self._tallies: dict[str, Tally] = {}

    def of(self, key: str) -> Tally:
        """Return the tally of a key, a new one where there is none."""
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= self.limit:
                self._make_room()
            tally = self._tallies[key] = Tally()
        return tally

    def _make_room(self) -> None:
        """Set the rarer half aside at once, as finding the rarest takes a sort."""
        ranked = list(self.most())
        kept = self.limit // 2
        self.others += sum(tally.count for _, tally in ranked[kept:])
        self._tallies = dict(ranked[:kept])

    def most(self) -> Iterator[tuple[str, Tally]]:
        """Yield the keys and their tallies, the most frequent first, equal ones by name."""
        yield from sorted(self._tallies.items(), key=lambda item: (-item[1].count, item[0]))
