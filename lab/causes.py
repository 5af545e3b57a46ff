"""The cause that a mail, log line or reply is known to have: its scenario's, unless the text says less or other than that."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Scenario(NamedTuple):
    """One row of scenarios.csv: a mail that is bound to fail, and why."""

    sender: str
    to: tuple[str, ...]
    category: tuple[str, ...]
    accept: tuple[str, ...]
    message: str
    servers: tuple[str, ...]
    notify: str
    why: str


class Vague(NamedTuple):
    """Words that do not tell the cause, and what they tell instead."""

    pattern: re.Pattern[str]
    category: str
    expired: bool


class Cause(NamedTuple):
    """A category, and others that are just as right."""

    category: str
    accept: list[str]


def _rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scenarios() -> list[Scenario]:
    """Read scenarios.csv; a sender's name stands for its row, so each is there once."""
    lists = ("to", "category", "accept", "servers")
    found = []
    for row in _rows("scenarios.csv"):
        if bool(row["accept"]) != bool(row["accept_why"]):
            raise SystemExit(f"lab: scenarios.csv: {row['from']}: say in accept_why what makes the other categories right, or accept none")
        to, category, accept, servers = (tuple(row[name].split()) for name in lists)
        found.append(Scenario(row["from"], to, category, accept, row["message"], servers, row["notify"], row["why"]))
    names = [row.sender for row in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SystemExit(f"lab: a sender is there twice: {sorted(twice)}")
    return found


class Causes:
    """All that is known of causes: scenarios.csv, overrides.csv, vague.csv."""

    def __init__(self) -> None:
        self.scenarios = {row.sender: row for row in scenarios()}
        self._overrides = {
            (row["server"], row["from"], row["to"]): Cause(row["category"], row["accept"].split()) for row in _rows("overrides.csv")
        }
        self._vague = [Vague(re.compile(row["pattern"], re.MULTILINE), row["category"], bool(row["expired"])) for row in _rows("vague.csv")]

    def vague(self, text: str) -> Vague | None:
        """Return what a text says in place of its cause; None where it tells the cause."""
        return next((vague for vague in self._vague if vague.pattern.search(text)), None)

    def find(self, server: str, sender: str, recipient: str | None, text: str) -> Cause | None:
        """Return the cause of what ``server`` says about ``sender``'s mail; None where that mail is not of the lab."""
        name = sender.partition("@")[0]
        cause = (
            self._overrides.get((server, name, recipient or "")) or self._overrides.get((server, name, "")) or self._made(name, recipient)
        )
        if cause and (vague := self.vague(text)):
            return Cause(vague.category, [other for other in (cause.category, *cause.accept) if other != vague.category])
        return cause

    def _made(self, name: str, recipient: str | None) -> Cause | None:
        row = self.scenarios.get(name)
        if row is None:
            return None
        if len(row.to) == 1:
            return Cause(row.category[0], list(row.accept))
        return Cause(row.category[row.to.index(recipient)], list(row.accept)) if recipient in row.to else None
