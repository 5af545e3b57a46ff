"""The model as an ordinary scikit-learn pipeline: templates in, probabilities out."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from math import log
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.svm import LinearSVC

from bounceml.learning.arrays import Floats
from bounceml.model import FAMILIES


class ModelSettings(NamedTuple):
    """What shapes the model; the values in ``data/train.toml`` carry the measurements that chose them."""

    c: float
    min_df: int
    char_weight: float
    concept_weight: float


class OpenTfidf(TfidfVectorizer):  # type: ignore[misc]  # scikit-learn ships no types
    """TF-IDF in which features never seen in training count for the length of a text, as rare ones.

    A text unlike anything known then has small values, small margins and no confident answer. With plain TF-IDF its few
    known features are scaled up to full length: a notice in Hebrew came out as spam with probability 0.84.
    """

    def __init__(self, *, analyzer: Callable[[str], Sequence[str]], min_df: int) -> None:
        super().__init__(analyzer=analyzer, min_df=min_df, sublinear_tf=True, norm=None)

    def _unit_length(self, raw: Sequence[str], values: csr_matrix) -> csr_matrix:
        unseen = [sum((1.0 + log(n)) ** 2 for f, n in Counter(self.analyzer(text)).items() if f not in self.vocabulary_) for text in raw]
        squared = np.asarray(values.multiply(values).sum(axis=1)).ravel() + np.array(unseen) * self.idf_.max() ** 2
        return diags(1.0 / np.sqrt(np.maximum(squared, 1e-12))) @ values

    def fit_transform(self, raw_documents: Sequence[str], y: object = None) -> csr_matrix:
        """Learn vocabulary and idf, return values of shape (rows, features)."""
        return self._unit_length(raw_documents, super().fit_transform(raw_documents, y))

    def transform(self, raw_documents: Sequence[str]) -> csr_matrix:
        """Return values of shape (rows, features)."""
        return self._unit_length(raw_documents, super().transform(raw_documents))


class ProbabilisticSVC(LinearSVC):  # type: ignore[misc]  # scikit-learn ships no types
    """A linear support vector machine, one category against the rest, with probabilities.

    They are calibrated once slope and offset of the sigmoid that held-out margins ask for are in the weights.
    """

    def predict_proba(self, X) -> Floats:  # type: ignore[no-untyped-def]  # noqa: N803  (scikit-learn's name)
        """Return probabilities of shape (rows, classes): sigmoids of the margins, scaled to sum to one."""
        single = expit(self.decision_function(X))
        return single / single.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


@cache
def _features(family: str, template: str) -> Sequence[str]:
    """Return the features of a template, kept for the next fold: they take longer to find than the model takes to fit."""
    return tuple(map(sys.intern, FAMILIES[family](template)))


def build(settings: ModelSettings) -> Pipeline:
    """Return an unfitted pipeline: TF-IDF over words, characters and concepts, then a linear model.

    Features come from ``model.FAMILIES``, so that training and the plain-array scorer share one definition of them. A
    family of weight 0 is left out.
    """
    weights = {"words": 1.0, "chars": settings.char_weight, "concepts": settings.concept_weight}
    used = {family: weight for family, weight in weights.items() if weight > 0}
    families = [(family, OpenTfidf(analyzer=partial(_features, family), min_df=settings.min_df)) for family in used]
    features = FeatureUnion(families, transformer_weights=used)
    return Pipeline([("features", features), ("linear", ProbabilisticSVC(C=settings.c, random_state=0))])
