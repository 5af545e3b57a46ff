"""The model as an ordinary scikit-learn pipeline: templates in, probabilities out."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from bounceml.learning.arrays import Floats, Ints
from bounceml.model import FAMILIES

# By family of features: how often each feature stands in each template, shape (templates, features).
Counts = Mapping[str, csr_matrix]


class ModelSettings(NamedTuple):
    """What shapes the model; the values in ``data/train.toml`` carry the measurements that chose them."""

    c: float
    min_df: int
    char_weight: float
    concept_weight: float


def _count(family: str, templates: Sequence[str], columns: dict[str, int]) -> csr_matrix:
    """Return the counts of one family; ``columns`` gives the column of each feature, and grows by those it lacks."""
    found, ends = array("i"), [0]
    for template in templates:
        found.extend([columns.setdefault(feature, len(columns)) for feature in FAMILIES[family](template)])
        ends.append(len(found))
    counts = csr_matrix((np.ones(len(found), dtype=np.int32), found, ends), shape=(len(templates), len(columns)))
    counts.sum_duplicates()
    return counts


class FeatureCounts(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Counts the features of templates, those of ``model.FAMILIES``: training and the plain-array scorer share one definition.

    ``vocabulary_`` has the column of each feature, by family. What fitting has not seen gets columns behind those, so that
    the next step knows how much of a text is new.
    """

    def fit(self, templates: Sequence[str], y: object = None) -> FeatureCounts:
        """Learn the vocabulary."""
        self.fit_transform(templates)
        return self

    def fit_transform(self, templates: Sequence[str], y: object = None) -> Counts:
        """Learn the vocabulary and return the counts."""
        self.vocabulary_: dict[str, dict[str, int]] = {family: {} for family in FAMILIES}
        return {family: _count(family, templates, columns) for family, columns in self.vocabulary_.items()}

    def transform(self, templates: Sequence[str]) -> Counts:
        """Return the counts."""
        return {family: _count(family, templates, dict(columns)) for family, columns in self.vocabulary_.items()}


def select(counts: Counts, rows: Ints) -> Counts:
    """Return the counts of some of the templates."""
    return {family: table[rows] for family, table in counts.items()}


class OpenTfidf(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """TF-IDF of one family of features, in which those never seen in training count for the length of a text, as rare ones.

    A text unlike anything known then has small values, small margins and no confident answer. With plain TF-IDF its few
    known features are scaled up to full length: a notice in Hebrew came out as spam with probability 0.84.

    ``columns_`` are the columns of the counts that stand in at least ``min_df`` training texts, ``idf_`` has their idf; both
    have shape (features,).
    """

    def __init__(self, *, family: str, min_df: int) -> None:
        self.family = family
        self.min_df = min_df

    def fit(self, counts: Counts, y: object = None) -> OpenTfidf:
        """Learn which features are known, and the idf of each (smoothed, as scikit-learn's own)."""
        table = counts[self.family]
        texts = np.bincount(table.indices, minlength=table.shape[1])
        self.columns_: Ints = np.flatnonzero(texts >= self.min_df)
        self.idf_: Floats = np.log((1 + table.shape[0]) / (1 + texts[self.columns_])) + 1
        return self

    def transform(self, counts: Counts) -> csr_matrix:
        """Return values of shape (rows, features)."""
        table = counts[self.family]
        idf = np.full(table.shape[1], self.idf_.max())
        idf[self.columns_] = self.idf_
        values = (1 + np.log(table.data)) * idf[table.indices]
        return normalize(csr_matrix((values, table.indices, table.indptr), shape=table.shape))[:, self.columns_]


class ProbabilisticSVC(LinearSVC):  # type: ignore[misc]  # scikit-learn ships no types
    """A linear support vector machine, one category against the rest, with probabilities.

    They are calibrated once slope and offset of the sigmoid that held-out margins ask for are in the weights.
    """

    def predict_proba(self, X) -> Floats:  # type: ignore[no-untyped-def]  # noqa: N803  (scikit-learn's name)
        """Return probabilities of shape (rows, classes): sigmoids of the margins, scaled to sum to one."""
        single = expit(self.decision_function(X))
        return single / single.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def build(settings: ModelSettings) -> Pipeline:
    """Return an unfitted pipeline: counts, TF-IDF over words, characters and concepts, then a linear model.

    A family of weight 0 is left out. Counting depends on nothing but the templates: whoever has their counts fits ``[1:]``.
    """
    weights = {"words": 1.0, "chars": settings.char_weight, "concepts": settings.concept_weight}
    used = {family: weight for family, weight in weights.items() if weight > 0}
    features = FeatureUnion([(family, OpenTfidf(family=family, min_df=settings.min_df)) for family in used], transformer_weights=used)
    return Pipeline([("counts", FeatureCounts()), ("features", features), ("linear", ProbabilisticSVC(C=settings.c, random_state=0))])
