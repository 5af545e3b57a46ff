"""Each rule votes for a category or stays silent; a vote keeps the words that matched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from bounceml import tables
from bounceml.values import Codes, Evidence, Vote


def rule_votes(template: str) -> Iterator[Vote]:
    """Yield the vote of every rule that hits the template, in the order of the rules."""
    yield from _hits(template)


@lru_cache(4096)  # a report on many recipients repeats one template, and its model's `unknown` asks the rules each time
def _hits(template: str) -> tuple[Vote, ...]:
    found = ((rule, re.search(rule.pattern, template, re.IGNORECASE)) for rule in tables.rules())
    return tuple(Vote(rule.category, Evidence(match[0], rule.id, 1.0)) for rule, match in found if match)


def code_votes(codes: Codes) -> Iterator[Vote]:
    """Yield what the enhanced status code stands for, where it stands for one category."""
    if codes.status and (category := tables.status_codes().get(codes.status.partition(".")[2])):
        yield Vote(category, Evidence(codes.status, "code", 1.0))


def provider_votes(named: Iterable[str]) -> Iterator[Vote]:
    """Yield the documented meaning of each provider's own code that a reply names."""
    for name in named:
        code = tables.provider_codes()[name]
        yield Vote(code.category, Evidence(name, f"code:{code.provider}", 1.0))
