"""A user's own rules: a file of the form of rules.toml, each rule checked before the first reply is read.

A rule sees the first ``rules.LONGEST`` characters of a template, and a pattern that could take more than ``MOST_STEPS`` there is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bounceml import backtracking, tables, text
from bounceml.errors import DataError
from bounceml.rules import LONGEST, own_votes
from bounceml.tables import Rule
from bounceml.values import Reply

MOST_STEPS = 100_000_000  # about a second: ``re`` takes 90 to 200 million steps in one (measured with gaps of 40 to 200 characters)
_NEEDED = ("id", "category", "pattern", "hit", "miss")
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def read(path: Path) -> tuple[Rule, ...]:
    """Return the rules of a file, in its order: the first that hits decides.

    Raises
    ------
    DataError
        Where the file cannot be read, or a rule is not whole, cannot be told from another, names no category, has a pattern that is
        none or could take too long, misses its own hit or hits its miss.

    """
    data = tables.toml_of(path)
    if other := [key for key in data if key != "rule"]:
        raise DataError(f"{path}: {other[0]!r} is not a key of a file of rules; write each rule as [[rule]]")
    blocks = data.get("rule", [])
    if not isinstance(blocks, list):
        raise DataError(f"{path}: write each rule as [[rule]]")
    rules: tuple[Rule, ...] = ()
    taken = {rule.id for rule in tables.rules()}
    for number, block in enumerate(blocks, 1):
        rule = _rule(path, number, block)
        where = f"{path}, rule {rule.id!r}"
        if rule.id in taken:
            raise DataError(f"{where}: another rule has this id, one of this file or of bounceml; give it one of its own")
        if rule.category not in tables.taxonomy().categories:
            raise DataError(f"{where}: {rule.category!r} is not a category; `bounceml taxonomy` lists them")
        _check_pattern(rule.pattern, where)
        rules = (*rules, rule)
        _check_proof(rule, rules, where)
        taken.add(rule.id)
    return rules


def _rule(path: Path, number: int, block: Any) -> Rule:
    name = block.get("id") if isinstance(block, dict) else None
    where = f"{path}, rule {name!r}" if isinstance(name, str) else f"{path}, rule {number}"
    if not isinstance(block, dict):
        raise DataError(f"{where}: write each rule as [[rule]]")
    if other := [key for key in block if key not in Rule._fields]:
        raise DataError(f"{where}: {other[0]!r} is not a key of a rule; there are {', '.join(Rule._fields)}")
    for key, value in block.items():
        if not isinstance(value, str):
            raise DataError(f"{where}: {key} is {value!r}; write it as text, in quotes")
    if missing := [key for key in _NEEDED if not block.get(key)]:
        raise DataError(f"{where}: has no {missing[0]}; a rule needs {', '.join(_NEEDED)}")
    if not _ID.fullmatch(block["id"]):
        raise DataError(f"{where}: write the id in lower case, its words joined by hyphens, as 'our-gateway'")
    return Rule(**{"source": path.name, **block})


def _check_pattern(pattern: str, where: str) -> None:
    try:
        re.compile(pattern, re.IGNORECASE)
        steps = backtracking.steps(pattern, LONGEST)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(f"{where}: its pattern is no regular expression of Python ({error})") from None
    if steps > MOST_STEPS:
        raise DataError(
            f"{where}: its pattern may take too long, as there are too many ways to match it; "
            "bound its gaps (.{0,40} in place of .*) and repeat nothing that holds a repetition"
        )


def _check_proof(rule: Rule, rules: tuple[Rule, ...], where: str) -> None:
    """Make sure that a rule, asked behind those before it, hits its ``hit`` and leaves its ``miss`` alone."""
    hit, miss = (text.read(Reply(given)).template for given in (rule.hit, rule.miss))
    if not any(own_votes((rule,), hit)):
        raise DataError(f"{where}: its pattern misses its hit, which reads {hit[:LONGEST]!r}")
    if any(own_votes((rule,), miss)):
        raise DataError(f"{where}: its pattern hits its miss, which reads {miss[:LONGEST]!r}")
    vote = next(own_votes(rules, hit), None)
    if vote and vote.evidence.by != rule.id:
        raise DataError(f"{where}: its hit is hit by {vote.evidence.by!r} before; put it in front of that, or give it another hit")
