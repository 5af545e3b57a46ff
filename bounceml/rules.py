"""Each rule votes for a category or stays silent; a vote keeps the words that matched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from bounceml import tables
from bounceml.tables import Rule
from bounceml.values import Codes, Evidence, Vote

LONGEST = 2000  # characters of a template that a user's rules see; a reply has some hundred


def rule_votes(template: str) -> Iterator[Vote]:
    """Yield the vote of every rule that hits the template, in the order of the rules."""
    yield from _ours(template)


@lru_cache(8192)  # evaluation asks them of each row five times
def _ours(template: str) -> tuple[Vote, ...]:
    return tuple(_hits(tables.rules(), template))


def own_votes(rules: Iterable[Rule], template: str) -> Iterator[Vote]:
    """Yield the vote of every rule of a user that hits the template, in their order; they see its first ``LONGEST`` characters."""
    return _hits(rules, template[:LONGEST])


def _hits(rules: Iterable[Rule], template: str) -> Iterator[Vote]:
    for rule in rules:
        if match := re.search(rule.pattern, template, re.IGNORECASE):
            yield Vote(rule.category, Evidence(match[0], rule.id, 1.0))


def code_votes(codes: Codes) -> Iterator[Vote]:
    """Yield what the enhanced status code stands for, where it stands for one category."""
    if codes.status and (category := tables.status_codes().get(codes.status.partition(".")[2])):
        yield Vote(category, Evidence(codes.status, "code", 1.0))


def provider_votes(named: Iterable[str]) -> Iterator[Vote]:
    """Yield the documented meaning of each provider's own code that a reply names."""
    for name in named:
        code = tables.provider_codes()[name]
        yield Vote(code.category, Evidence(name, f"code:{code.provider}", 1.0))
