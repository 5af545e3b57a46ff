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
from typing import NamedTuple

from bounceml import tables

_WORD = re.compile(r"<\w+>|[a-z\u00b5-\u058f\u1e00-\u1fff]+")  # a mark, or Latin, Greek or Cyrillic letters with their accents
_PLAIN = str.maketrans({"ı": "i", "ł": "l", "ß": "ss", "ø": "o", "đ": "d", "æ": "ae"})


class _Words(NamedTuple):
    concepts: dict[str, str]  # a beginning of words ends in "*"
    joined: dict[tuple[str, ...], str]  # two neighbours that are one concept: not, exist


def without_accents(word: str) -> str:
    """Return the word in the letters that the tables write it in."""
    if word.isascii():
        return word
    return "".join(c for c in unicodedata.normalize("NFD", word.translate(_PLAIN)) if not unicodedata.combining(c))


@cache
def _words() -> _Words:
    words = _Words({}, {})
    for concept, language, forms in tables.concepts("words"):
        if language == "=":
            words.joined.update({tuple(form.split()): concept for form in forms})
        else:
            words.concepts.update(dict.fromkeys(forms, concept))
    return words


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
    words, plain = _words().concepts, without_accents(word)
    beginnings = (f"{plain[:size]}*" for size in range(len(plain), 1, -1))
    return words.get(plain) or next((words[beginning] for beginning in beginnings if beginning in words), None)


def _said(masked: str) -> Iterator[str | None]:
    phrases, at = _phrases(), 0
    while at < len(masked):
        for phrase, concept in phrases.get(masked[at], ()):
            if masked.startswith(phrase, at):
                yield concept
                at += len(phrase)
                break
        else:
            word = _WORD.match(masked, at)
            if word:
                yield _of_word(word[0])
            at = word.end() if word else at + 1


def concepts(masked: str) -> list[str]:
    """Return the concepts and marks of a template in the order of its text, neighbours that are the same once.

    >>> concepts("550 <addr>: no such user"), concepts("550 <addr> 用户不存在")
    (['<addr>', 'missing', 'user'], ['<addr>', 'user', 'missing'])
    """
    joined, found = _words().joined, [""]
    for concept in map(_of_word, _WORD.findall(masked)) if masked.isascii() else _said(masked):
        if concept and (one := joined.get((found[-1], concept))):
            found[-1] = one
        elif concept and concept != found[-1]:
            found.append(concept)
    return found[1:]


def concept_features(masked: str) -> list[str]:
    """Return the concepts and marks of a template and all pairs of them: languages order their words differently."""
    found = concepts(masked)
    return found + [f"{a}&{b}" for a, b in combinations(sorted(set(found)), 2)]
