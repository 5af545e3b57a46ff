"""The plain-array scorer: a template to calibrated probabilities, without numpy and without scikit-learn.

It repeats what the scikit-learn pipeline computes (sublinear TF-IDF over words, characters and concepts, each of unit
length, then a linear model, one category against the rest, its margins through a sigmoid) from arrays: sorted 64-bit
hashes of the features, their idf, and the weights as 8-bit integers with one scale a category. A test holds the two equal
to 1e-6 on every fifth example.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import exp, log, sqrt
from operator import mul
from struct import iter_unpack
from typing import NamedTuple

from bounceml import concepts, text
from bounceml.artefact import Artefact
from bounceml.errors import ModelError
from bounceml.values import Explanation, Score, Span, Word

FAMILIES: dict[str, Callable[[str], list[str]]] = {
    "words": text.word_features,
    "chars": text.char_features,
    "concepts": concepts.concept_features,
}
# Where each of these features stands in the template, in the same order; only explanations need it.
PLACES: dict[str, Callable[[str], list[tuple[Span, ...]]]] = {
    "words": text.word_places,
    "chars": text.char_places,
    "concepts": concepts.concept_places,
}
_REMEMBERED = 16_384  # features that are known, 10 MB: new templates are made of words that others had; twice as many save 6 % of the time
_LANE = 8  # bytes: sums of 64 bits in one long integer, see ``_Feature``
_ONE = 2**40  # a value in whole numbers: those of all features of a text, times 255, stay far below 2**64
_ZERO = 128  # what a weight is raised by, so that no lane is negative
_RAISED = bytes((weight + _ZERO) % 256 for weight in range(256))  # by the byte that a weight is kept as
_RUN = re.compile(r"\S+")


def feature_hash(family: str, feature: str) -> int:
    """Return the 64-bit key of a feature: the first 8 bytes of BLAKE2b (RFC 7693) over family and feature."""
    return int.from_bytes(blake2b(f"{family}\0{feature}".encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class _Feature(NamedTuple):
    """What training knows of a feature: its idf, and its weight for each label in one integer, a label a lane; None: never seen.

    So the weights of all labels are multiplied and added at once: a text of 130 features takes 30 us in place of 200.
    """

    weights: int | None
    idf: float


class Model:
    """Scores templates with the arrays of an opened model folder."""

    def __init__(self, artefact: Artefact) -> None:
        arrays = artefact.arrays
        self.name = artefact.name
        self.labels: list[str] = artefact.manifest["labels"]
        self._family_weights: dict[str, float] = artefact.manifest["family_weights"]
        if not set(self._family_weights) <= set(FAMILIES):
            raise ModelError(
                f"{artefact.folder}: made of the features {', '.join(self._family_weights)}, but this version has "
                f"{', '.join(FAMILIES)}; train the model again with `bounceml train --out {artefact.folder}`"
            )
        self._unseen_idf: dict[str, float] = artefact.manifest["unseen_idf"]
        self._hashes, self._idf, self._weights = arrays["hashes"], arrays["idf"], arrays["weights"]
        self._scale, self._intercept = arrays["scale"], arrays["intercept"]
        self._feature = lru_cache(_REMEMBERED)(self._found)

    def _features(self, template: str) -> Iterator[tuple[str, str, int, float]]:
        """Yield (family, feature, weights in lanes, value) for each known feature.

        The values of a family have unit length with those of the features that training never saw, which count as rare.
        """
        for family in self._family_weights:
            found, squared = [], 0.0
            for feature, count in Counter(FAMILIES[family](template)).items():
                weights, idf = self._feature(family, feature)
                value = (1.0 + log(count)) * idf
                squared += value * value
                if weights is not None:
                    found.append((feature, weights, value))
            length = sqrt(squared)
            for feature, weights, value in found:
                yield family, feature, weights, value / length * self._family_weights[family]

    def _found(self, family: str, feature: str) -> _Feature:
        key = feature_hash(family, feature)
        row = bisect_left(self._hashes, key)
        if row == len(self._hashes) or self._hashes[row] != key:
            return _Feature(None, self._unseen_idf[family])
        size = len(self.labels)
        lanes = bytearray(_LANE * size)
        lanes[::_LANE] = self._weights[row * size : row * size + size].tobytes().translate(_RAISED)
        return _Feature(int.from_bytes(lanes, "little"), self._idf[row])

    def _sums(self, weights: Sequence[int], values: Sequence[float]) -> list[float]:
        """Return for each label the sum of its weights of some features, each times the feature's value, which is not negative."""
        whole = [int(value * _ONE) for value in values]
        lanes = sum(map(mul, weights, whole)).to_bytes(_LANE * len(self.labels), "little")
        raised = _ZERO * sum(whole)
        return [(lane - raised) / _ONE for (lane,) in iter_unpack("<Q", lanes)]

    def scores(self, template: str) -> list[Score]:
        """Return every category with its calibrated probability, most probable first."""
        found = list(self._features(template))
        sums = self._sums([weights for _, _, weights, _ in found], [value for _, _, _, value in found])
        margins = [a + b * c for a, b, c in zip(self._intercept, self._scale, sums, strict=True)]
        single = [1.0 / (1.0 + exp(-margin)) for margin in margins]
        whole = sum(single)
        scores = [Score(label, one / whole) for label, one in zip(self.labels, single, strict=True)]
        return sorted(scores, key=lambda score: -score.probability)

    def explained(self, template: str) -> Explanation:
        """Return the weight of each word of a template for every category, all that the scores are made of.

        A feature's weight is shared alike by the places where it stands: a pair's by its two words, that of neighbouring
        characters by the words they are of. What training never saw weighs nothing.
        """
        words = _words(template)
        owner = {place: number for number, (_, start, end) in enumerate(words) for place in range(start, end)}
        shares: list[list[tuple[int, float]]] = [[] for _ in words]
        spans: dict[tuple[str, str], list[Span]] = {}
        for family in self._family_weights:
            for feature, where in zip(FAMILIES[family](template), PLACES[family](template), strict=True):
                spans.setdefault((family, feature), []).extend(where)
        for family, feature, weights, value in self._features(template):
            found = spans[family, feature]
            for start, end in found:
                inside = [owner[place] for place in range(start, end) if place in owner]
                for number in inside:
                    shares[number].append((weights, value / len(found) / len(inside)))
        told = []
        for (word, start, end), share in zip(words, shares, strict=True):
            sums = self._sums([weights for weights, _ in share], [value for _, value in share])
            told.append(Word(word, start, end, tuple(b * c for b, c in zip(self._scale, sums, strict=True))))
        return Explanation(tuple(self.labels), tuple(self._intercept), tuple(told))


def _words(template: str) -> list[tuple[str, int, int]]:
    """Part a template into its tokens, each with the punctuation behind it, or before the first: no character belongs to none."""
    tokens = text.tokens(template)
    starts = dict(zip((start for start, _ in text.places(tokens, template)), tokens, strict=True))
    words: list[tuple[str, int, int]] = []
    for run in _RUN.finditer(template):
        first, *others = [place for place in range(*run.span()) if place in starts] or [run.start()]
        ends = [*others, run.end()]
        words += [
            (starts.get(place, run[0]), run.start() if place == first else place, end)
            for place, end in zip([first, *others], ends, strict=True)
        ]
    return words
