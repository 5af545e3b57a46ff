"""The model as an ordinary scikit-learn pipeline: templates in, probabilities out."""

from __future__ import annotations

from typing import NamedTuple

from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.svm import LinearSVC

from bounceml import text
from bounceml.learning.arrays import Floats


class ModelSettings(NamedTuple):
    """What shapes the model; the values in ``data/train.toml`` carry the measurements that chose them."""

    c: float
    min_df: int
    char_weight: float


class ProbabilisticSVC(LinearSVC):  # type: ignore[misc]  # scikit-learn ships no types
    """A linear support vector machine, one category against the rest, with probabilities.

    They are calibrated once slope and offset of the sigmoid that held-out margins ask for are in the weights.
    """

    def predict_proba(self, X) -> Floats:  # type: ignore[no-untyped-def]  # noqa: N803  (scikit-learn's name)
        """Return probabilities of shape (rows, classes): sigmoids of the margins, scaled to sum to one."""
        single = expit(self.decision_function(X))
        return single / single.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def build(settings: ModelSettings) -> Pipeline:
    """Return an unfitted pipeline: TF-IDF over words and over characters, then a linear model.

    Tokens come from ``text``, so that training and the plain-array scorer share one definition of them.
    """
    words = TfidfVectorizer(analyzer=text.word_features, min_df=settings.min_df, sublinear_tf=True)
    chars = TfidfVectorizer(analyzer=text.char_features, min_df=settings.min_df, sublinear_tf=True)
    features = FeatureUnion([("words", words), ("chars", chars)], transformer_weights={"words": 1.0, "chars": settings.char_weight})
    return Pipeline([("features", features), ("linear", ProbabilisticSVC(C=settings.c, random_state=0))])
