"""From verdicts to the figures of a report: one pass, in memory that does not grow with the input."""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from typing import Any

from bounceml import decide, tables
from bounceml.report.bounded import KINDS, Bounded, Tally
from bounceml.report.times import Timeline, local
from bounceml.text import visible
from bounceml.values import Reply, Verdict

FORMAT = 1  # of the figures as JSON; raised when a field changes its meaning
_LIMIT = 10_000  # keys of a table that are counted apart: 6 MB
_ROWS = 1000  # of them that are written
_ERRORS = 5  # inputs that could not be read that are named
_LONGEST = 400  # characters of a template or a name

TABLES = ("causes", "actions", "domains", "hosts", "templates", "unknown", "blocklists", "recipients")


def kind(verdict: Verdict) -> str:
    """Return whether a failure is ``hard`` (it lasts), ``soft`` (it may pass), a ``block`` or ``unknown``: its label by hard-soft."""
    label = tables.scheme_label("hard-soft", verdict.category, verdict.outcome, verdict.permanence)
    return label if label in KINDS else "unknown"


class Figures:
    """Takes replies with their verdicts, one after the other.

    Parameters
    ----------
    limit
        How many keys of a table are counted apart.

    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._totals = dict.fromkeys(("read", "delivered", "no_bounce", "failed", *KINDS, "suppress", "undated", "unread"), 0)
        self._period = Tally()
        self._timeline = Timeline()
        self._tables = {name: Bounded(limit) for name in TABLES}
        self._errors: list[str] = []
        self._model = ""

    def add_success(self, reply: Reply) -> None:
        """Count a reply that tells of no failure."""
        self._totals["read"] += 1
        self._totals["no_bounce" if reply.outcome == decide.NO_BOUNCE else "delivered"] += 1

    def add(self, reply: Reply, verdict: Verdict, template: str) -> None:
        """Count a reply by its verdict; ``template`` is its masked form."""
        self._model = verdict.model
        if verdict.error:
            self._totals["unread"] += 1
            if len(self._errors) < _ERRORS:
                self._errors.append(verdict.error)
            return
        self._totals["read"] += 1
        if verdict.category == decide.NO_BOUNCE:
            self._totals["no_bounce"] += 1
            return
        of = kind(verdict)
        time = local(reply.time) if reply.time else None
        self._totals["failed"] += 1
        self._totals[of] += 1
        self._totals["suppress"] += verdict.suppress
        if time:
            self._timeline.add(time, of)
        else:
            self._totals["undated"] += 1
        for name, key in self._keys(reply, verdict, template, of):
            self._tables[name].of(key).add(of, verdict.category, verdict.action, time)
        self._period.add(of, verdict.category, verdict.action, time)

    @staticmethod
    def _keys(reply: Reply, verdict: Verdict, template: str, of: str) -> list[tuple[str, str]]:
        recipient = verdict.recipient or ""
        domain = recipient.rpartition("@")[2].lower() if "@" in recipient else ""
        template = _without_user(template, recipient)[:_LONGEST]
        keys = [("causes", verdict.category), ("actions", verdict.action), ("templates", template)]
        if domain:
            keys.append(("domains", domain[:_LONGEST]))
        if reply.host:
            keys.append(("hosts", reply.host[:_LONGEST]))
        if verdict.blocklist:
            keys.append(("blocklists", verdict.blocklist))
        if verdict.category == decide.UNKNOWN:
            keys.append(("unknown", template))
        if of == "soft" and domain:
            keys.append(("recipients", recipient[:_LONGEST]))
        return keys

    def summary(self, addresses: bool = False, earlier: Container[str] | None = None) -> dict[str, Any]:
        """Return the figures, ready for JSON.

        Parameters
        ----------
        addresses
            Whether recipients are written in full; else the part before the @ is masked.
        earlier
            The ``wordings`` of the report before this one, to tell which are new: all of its templates, also those that
            are too rare for a row.

        """
        found: dict[str, Any] = {
            "format": FORMAT,
            "model": self._model,
            "totals": self._totals,
            "first_seen": self._period.first,
            "last_seen": self._period.last,
            "timeline": {
                "unit": self._timeline.unit,
                "bars": [{"time": time} | {name: counts[name] for name in KINDS} for time, counts in self._timeline.bars()],
            },
        }
        for name, bounded in self._tables.items():
            found[name] = _table(
                bounded, least=2 if name == "recipients" else 1, shown=_masked if name == "recipients" and not addresses else visible
            )
        found["wordings"] = sorted(visible(template) for template, _ in self._tables["templates"].most())
        for row in found["templates"]["rows"]:
            row["new"] = None if earlier is None else row["name"] not in earlier
        found["errors"] = [visible(error) for error in self._errors]
        return found


def _table(bounded: Bounded, least: int, shown: Callable[[str], str]) -> dict[str, Any]:
    """The most frequent keys as rows, and how many counts are left to all the others."""
    rows: list[dict[str, Any]] = []
    others = bounded.others
    for key, tally in bounded.most():
        if tally.count < least:
            continue
        if len(rows) < _ROWS:
            rows.append(_row(shown(key), tally))
        else:
            others += tally.count
    return {"rows": rows, "others": others, "limit": bounded.limit if bounded.others else None}


def _row(name: str, tally: Tally) -> dict[str, Any]:
    category, action = tally.cause
    return {
        "name": name,
        "count": tally.count,
        **tally.kinds,
        "category": category,
        "action": action,
        "first_seen": tally.first,
        "last_seen": tally.last,
    }


# --- what may be shown ------------------------------------------------------------------------------------------


def _without_user(template: str, recipient: str) -> str:
    """The template without the recipient's name where it stands alone, "mailbox joe.smith is full": it makes no new template.

    >>> _without_user("mailbox joe.smith is full", "Joe.Smith@example.com")
    'mailbox <user> is full'
    """
    user = recipient.rpartition("@")[0].lower()
    if len(user) < 3 or user not in template:
        return template
    return re.sub(rf"(?<![\w.<-]){re.escape(user)}(?![\w.>-])", "<user>", template)


def _masked(address: str) -> str:
    """Return an address that shows its domain only.

    >>> _masked("joe.smith@example.com")
    'j…@example.com'
    """
    user, _, domain = visible(address).rpartition("@")
    return f"{user[:1]}…@{domain}"
