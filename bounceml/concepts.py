"""From a template to the concepts it speaks of: "no such user", 查无此人 and "utente sconosciuto" say ``user`` and ``missing``.

What is learnt of a cause in one language then holds in the others. Words of alphabets are looked up whole, then by their
longest known beginning; in other scripts, and where words are several syllables apart, known phrases are searched for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import combinations

from bounceml import tables
from bounceml.values import Span

_WORD = re.compile(r"<\w+>|[a-z\u00b5-\u058f\u1e00-\u1fff]+")  # a mark, or Latin, Greek or Cyrillic letters with their accents
_PLAIN = str.maketrans({"ı": "i", "ł": "l", "ß": "ss", "ø": "o", "đ": "d", "æ": "ae"})


def without_accents(word: str) -> str:
    """Return the word in the letters that the tables write it in."""
    if word.isascii():
        return word
    return "".join(c for c in unicodedata.normalize("NFD", word.translate(_PLAIN)) if not unicodedata.combining(c))


@cache
def _joined() -> dict[tuple[str, ...], str]:
    """Return two neighbours that are one concept: not, exist."""
    return {tuple(form.split()): concept for form, concept in tables.concept_words("=").items()}


@cache
def _phrases() -> dict[str, list[tuple[str, str]]]:
    """Return phrases and their concepts by first character, the longest first; only texts beyond ASCII need them."""
    phrases: dict[str, list[tuple[str, str]]] = {}
    for concept, _, forms in tables.concepts("phrases"):
        for form in forms:
            phrases.setdefault(form[0], []).append((form, concept))
    for some in phrases.values():
        some.sort(key=lambda phrase: -len(phrase[0]))
    return phrases


@lru_cache(maxsize=65536)
def _of_word(word: str) -> str | None:
    if word[0] == "<":
        return word
    plain = without_accents(word)
    words = tables.concept_words(plain[:1])
    beginnings = (f"{plain[:size]}*" for size in range(len(plain), 1, -1))
    return words.get(plain) or next((words[beginning] for beginning in beginnings if beginning in words), None)


def _said(masked: str) -> Iterator[tuple[str | None, Span]]:
    """What each word or phrase of a template says, and where it stands."""
    if masked.isascii():
        for word in _WORD.finditer(masked):
            yield _of_word(word[0]), word.span()
        return
    phrases, at = _phrases(), 0
    while at < len(masked):
        for phrase, concept in phrases.get(masked[at], ()):
            if masked.startswith(phrase, at):
                yield concept, (at, at + len(phrase))
                at += len(phrase)
                break
        else:
            one = _WORD.match(masked, at)
            if one:
                yield _of_word(one[0]), one.span()
            at = one.end() if one else at + 1


def _placed(masked: str) -> list[tuple[str, list[Span]]]:
    """The concepts of a template in the order of its text, each with the places of its words."""
    joined = _joined()
    found: list[tuple[str, list[Span]]] = [("", [])]
    for concept, span in _said(masked):
        last, spans = found[-1]
        if concept and (one := joined.get((last, concept))):
            found[-1] = (one, [*spans, span])
        elif concept == last:
            spans.append(span)
        elif concept:
            found.append((concept, [span]))
    return found[1:]


def concepts(masked: str) -> list[str]:
    """Return the concepts and marks of a template in the order of its text, neighbours that are the same once.

    >>> concepts("550 <addr>: no such user"), concepts("550 <addr> 用户不存在")
    (['<addr>', 'missing', 'user'], ['<addr>', 'user', 'missing'])
    """
    return [concept for concept, _ in _placed(masked)]


def concept_features(masked: str) -> list[str]:
    """Return the concepts and marks of a template and all pairs of them: languages order their words differently."""
    found = concepts(masked)
    return found + [f"{a}&{b}" for a, b in combinations(sorted(set(found)), 2)]


def concept_places(masked: str) -> list[tuple[Span, ...]]:
    """Return where each of ``concept_features`` stands in the template: of a pair, all words of both."""
    placed, spans = _placed(masked), dict[str, tuple[Span, ...]]()
    for concept, where in placed:
        spans[concept] = (*spans.get(concept, ()), *where)
    return [tuple(where) for _, where in placed] + [spans[a] + spans[b] for a, b in combinations(sorted(spans), 2)]
