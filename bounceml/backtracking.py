"""How long a pattern may take at worst, told from the pattern alone, so that one that could hang a run is refused before it runs.

Python's ``re`` tries every way to read a text (it backtracks), and a call cannot be stopped. The number of ways is bounded by
the pattern's parts: those of a sequence multiply, those of an alternation add up, and those of a repetition multiply with each
turn. A repetition within a repetition, (a+)+, so has more ways than there are atoms in the world, and two gaps without an end,
.*x.*, as many as the square of the text's length. The bound is no estimate: a text that needs as many steps need not exist.
"""

from __future__ import annotations

import re._constants as kinds  # type: ignore[import-not-found]  # the parser of ``re`` has no public name
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

_ENDLESS = 10**15  # where counting stops


class _Work(NamedTuple):
    """In how many ways a part can match at one place, and how many steps it takes to try them all."""

    ways: int
    steps: int


def steps(pattern: str, longest: int) -> int:
    """Return an upper bound of the steps that a search takes in a text of at most ``longest`` characters.

    Examples
    --------
    >>> steps("user.{0,40}unknown", 1000)
    332000
    >>> steps("(a+)+b", 1000) > 10**12
    True

    Raises
    ------
    re.error
        Where it is no pattern.

    """
    return min(_ENDLESS, _of(parser.parse(pattern), longest).steps * longest)


def _of(parts: Iterable[tuple[Any, Any]], longest: int) -> _Work:
    """The work of a sequence: each part is tried once for every way through those before it."""
    sequence = list(parts)
    ways, taken = 1, 0
    for place, (kind, given) in enumerate(sequence):
        one = _of_part(kind, given, longest)
        if _ends_itself(kind, given, _first(sequence[place + 1 :])):
            one = _Work(1, one.steps + one.ways)
        ways, taken = min(_ENDLESS, ways * one.ways), min(_ENDLESS, taken + ways * one.steps)
    return _Work(ways, taken)


def _of_part(kind: Any, given: Any, longest: int) -> _Work:
    if kind in (kinds.LITERAL, kinds.NOT_LITERAL, kinds.ANY, kinds.IN, kinds.AT):
        return _Work(1, 1)
    if kind is kinds.SUBPATTERN:
        return _of(given[-1], longest)
    if kind is kinds.BRANCH:
        return _alternatives([list(branch) for branch in given[1]], longest)
    if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT):
        least, most, body = given
        return _repeated(min(least, longest), min(most, longest), _of(body, longest))
    if kind is kinds.POSSESSIVE_REPEAT:
        return _Work(1, _repeated(0, min(given[1], longest), _of(given[2], longest)).steps)
    if kind in (kinds.ASSERT, kinds.ASSERT_NOT):
        return _Work(1, _of(given[1], longest).steps)
    if kind is kinds.ATOMIC_GROUP:
        return _Work(1, _of(given, longest).steps)
    if kind is kinds.GROUPREF:
        return _Work(1, longest)
    if kind is kinds.GROUPREF_EXISTS:
        return _alternatives([list(branch or ()) for branch in given[1:]], longest)
    return _Work(_ENDLESS, _ENDLESS)  # a kind that a later Python has


def _alternatives(branches: list[list[tuple[Any, Any]]], longest: int) -> _Work:
    """The work of an alternation: all are tried, but those that begin with different characters cannot all match."""
    anywhere, by_character = 0, dict[str, int]()
    taken = 0
    for branch in branches:
        one = _of(branch, longest)
        taken += one.steps + 1
        first = _first(branch)
        if first is None:
            anywhere += one.ways
        for character in first or ():
            by_character[character] = by_character.get(character, 0) + one.ways
    return _Work(max(1, anywhere + max(by_character.values(), default=0)), taken)


def _ends_itself(kind: Any, given: Any, following: set[str] | None) -> bool:
    """Say whether a run of characters can only end where the next part begins, as a word before a blank: it has one way."""
    if kind not in (kinds.MAX_REPEAT, kinds.MIN_REPEAT) or len(given[2]) != 1 or not following:
        return False
    one, taken = given[2][0]
    return not any(_takes(one, taken, form) for character in following for form in {character, character.upper()})


def _takes(kind: Any, given: Any, character: str) -> bool:
    """Say whether a part that takes one character may take this one."""
    if kind is kinds.LITERAL:
        return _has(kind, given, character)
    if kind is kinds.NOT_LITERAL:
        return not _has(kind, given, character)
    if kind is not kinds.IN:
        return True
    negated = bool(given[0][0] is kinds.NEGATE)
    return negated != any(_has(item, value, character) for item, value in given[negated:])


_CLASSES: dict[Any, Callable[[str], bool]] = {
    kinds.CATEGORY_DIGIT: str.isdecimal,
    kinds.CATEGORY_SPACE: str.isspace,
    kinds.CATEGORY_WORD: lambda character: character.isalnum() or character == "_",
    kinds.CATEGORY_NOT_DIGIT: lambda character: not character.isdecimal(),
    kinds.CATEGORY_NOT_SPACE: lambda character: not character.isspace(),
    kinds.CATEGORY_NOT_WORD: lambda character: not (character.isalnum() or character == "_"),
}


def _has(kind: Any, given: Any, character: str) -> bool:
    """Say whether a character, a range or a class of them has this one, in either case."""
    if kind is kinds.CATEGORY:
        return _CLASSES[given](character)
    first, last = given if kind is kinds.RANGE else (given, given)
    return any(first <= ord(form) <= last for form in (character.lower(), character.upper()) if len(form) == 1)


def _first(parts: Iterable[tuple[Any, Any]]) -> set[str] | None:
    """The characters that a sequence can begin with, in lower case; None where they are many or it may be empty."""
    for kind, given in parts:
        if kind is kinds.LITERAL:
            return {chr(given).lower()}
        if kind is kinds.IN and all(item is kinds.LITERAL for item, _ in given):
            return {chr(literal).lower() for _, literal in given}
        if kind is kinds.SUBPATTERN:
            return _first(given[-1])
        if kind is kinds.BRANCH:
            found = [_first(branch) for branch in given[1]]
            return None if None in found else {character for one in found for character in one or ()}
        if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT) and given[0] > 0:
            return _first(given[2])
        if kind is not kinds.AT and kind not in (kinds.ASSERT, kinds.ASSERT_NOT):
            return None
    return None


def _repeated(least: int, most: int, body: _Work) -> _Work:
    if body.ways == 1:
        return _Work(max(1, most - least + 1), min(_ENDLESS, most * body.steps + 1))
    ways, taken, paths = 0, 0, 1
    for turn in range(most + 1):
        ways += paths if turn >= least else 0
        taken += paths * body.steps
        paths *= body.ways
        if taken > _ENDLESS or ways > _ENDLESS:
            return _Work(_ENDLESS, _ENDLESS)
    return _Work(max(1, ways), taken)
