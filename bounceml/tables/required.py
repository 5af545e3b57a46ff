"""Of a pattern, the words of which every match holds one: looking for these takes a tenth of the time of the pattern itself.

Told from its parsed form as Python's ``re`` makes it (``re._parser``, private: hence only where the fact files are compiled).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

kinds, parser = re._constants, re._parser
_SHORTEST = 2  # characters of a word that is worth looking for; one of Chinese tells as much as two letters


def words(pattern: str) -> list[str]:
    r"""Return words in lower case of which one is in every text that the pattern hits; none where there are no such words.

    >>> words(r"(?:maximum|limit)[^<]{0,9}(?P<n>\\d+)"), words(r"\\d+"), words(r"no?t? (?:such|known) user")
    (['limit', 'maximum'], [], [' user'])
    """
    return sorted(_of(parser.parse(pattern, re.IGNORECASE)) or ())


def _of(parts: Iterable[tuple[Any, Any]]) -> frozenset[str] | None:
    """Of the parts of a sequence each must match: the one with the longest words tells most."""
    found: list[frozenset[str]] = []
    run = ""
    for kind, given in parts:
        if kind is kinds.LITERAL:
            run += chr(given).lower()
            continue
        found += [frozenset([run])] if run else []
        run = ""
        if (inner := _of_part(kind, given)) is not None:
            found.append(inner)
    found += [frozenset([run])] if run else []
    return max((some for some in found if _least(some) >= _SHORTEST), key=_least, default=None)


def _of_part(kind: Any, given: Any) -> frozenset[str] | None:
    if kind is kinds.SUBPATTERN:
        return _of(given[-1])
    if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT):
        least, _, body = given
        return _of(body) if least else None
    if kind is kinds.BRANCH:
        branches = [_of(branch) for branch in given[1]]
        return None if None in branches else frozenset[str]().union(*(branch for branch in branches if branch))
    return None  # a kind that says nothing of its letters, or that a later Python has


def _least(some: frozenset[str]) -> int:
    return min(len(word.encode()) if not word.isascii() else len(word) for word in some)
