"""The plain-array scorer: a template to calibrated probabilities, without numpy and without scikit-learn.

It repeats what the scikit-learn pipeline computes (sublinear TF-IDF over words, characters and concepts, each of unit
length, then a linear model, one category against the rest, its margins through a sigmoid) from arrays: sorted 64-bit
hashes of the features, their idf, and the weights as 8-bit integers with one scale a category. A test holds the two equal
to 1e-6 on every example.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from math import exp, log, sqrt

from bounceml import concepts, text
from bounceml.artefact import Artefact
from bounceml.errors import ModelError
from bounceml.values import Evidence, Score

FAMILIES: dict[str, Callable[[str], list[str]]] = {
    "words": text.word_features,
    "chars": text.char_features,
    "concepts": concepts.concept_features,
}


def feature_hash(family: str, feature: str) -> int:
    """Return the 64-bit key of a feature: the first 8 bytes of BLAKE2b (RFC 7693) over family and feature."""
    return int.from_bytes(blake2b(f"{family}\0{feature}".encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


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

    def _features(self, template: str) -> Iterator[tuple[str, str, int, float]]:
        """Yield (family, feature, row of the arrays, value) for each known feature.

        The values of a family have unit length with those of the features that training never saw, which count as rare.
        """
        for family in self._family_weights:
            found, squared = [], 0.0
            for feature, count in Counter(FAMILIES[family](template)).items():
                key = feature_hash(family, feature)
                row = bisect_left(self._hashes, key)
                known = row < len(self._hashes) and self._hashes[row] == key
                value = (1.0 + log(count)) * (self._idf[row] if known else self._unseen_idf[family])
                squared += value * value
                if known:
                    found.append((feature, row, value))
            length = sqrt(squared)
            for feature, row, value in found:
                yield family, feature, row, value / length * self._family_weights[family]

    def scores(self, template: str) -> list[Score]:
        """Return every category with its calibrated probability, most probable first."""
        size = len(self.labels)
        sums = [0.0] * size
        for _, _, row, value in self._features(template):
            sums = [total + value * weight for total, weight in zip(sums, self._weights[row * size : row * size + size], strict=True)]
        margins = [a + b * c for a, b, c in zip(self._intercept, self._scale, sums, strict=True)]
        single = [1.0 / (1.0 + exp(-margin)) for margin in margins]
        whole = sum(single)
        found = [Score(label, one / whole) for label, one in zip(self.labels, single, strict=True)]
        return sorted(found, key=lambda score: -score.probability)

    def contributions(self, template: str, category: str, most: int = 5) -> list[Evidence]:
        """Return the word features that speak most for a category, with their share of its margin.

        The weight is measured against the mean over all categories, so that a word that speaks for everything counts nothing.
        """
        size, column = len(self.labels), self.labels.index(category)
        found = []
        for family, feature, row, value in self._features(template):
            if family == "words":
                weights = [w * s for w, s in zip(self._weights[row * size : row * size + size], self._scale, strict=True)]
                found.append(Evidence(feature, "model", value * (weights[column] - sum(weights) / size)))
        return sorted((e for e in found if e.weight > 0), key=lambda e: -e.weight)[:most]
