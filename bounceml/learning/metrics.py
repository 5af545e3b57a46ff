"""Figures on predictions, as pure functions of arrays. Probabilities and rates are 0-1."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.metrics import auc

from bounceml.learning.arrays import Booleans, Floats, Ints

BINS = 15


# --- figures of counts ------------------------------------------------------------------------------------------
# A figure that is made of counts is two functions: one that tallies each row, and one from the sums of the tallies, of shape
# (samples, columns), to the figure of each sample. A bootstrap then adds up whole groups and never looks at a row again.


def share_tallies(there: Booleans | Floats) -> Floats:
    """Return the tallies, shape (rows, 2), of the share of rows in which something is there."""
    return np.column_stack([there, np.ones(len(there))])


def share(sums: Floats) -> Floats:
    """Return the share of rows."""
    there, rows = sums.T
    return there / rows  # type: ignore[no-any-return]


def f1_tallies(truth: Ints, said: Ints, classes: Ints) -> Floats:
    """Return the tallies, shape (rows, 3 x classes), of the mean F1 over ``classes``; an answer outside them is a miss."""
    is_it, says_it = truth[:, None] == classes, said[:, None] == classes
    return np.hstack([is_it, says_it, is_it & says_it]).astype(np.float64)


def mean_f1(sums: Floats) -> Floats:
    """Return the mean F1; that of a class which is neither there nor said is 0."""
    is_it, says_it, both = np.split(sums, 3, axis=1)
    return (2 * both / np.maximum(is_it + says_it, 1)).mean(axis=1)  # type: ignore[no-any-return]


def macro_f1(truth: Ints, said: Ints, classes: Ints) -> float:
    """Return the mean F1 over ``classes``; an answer outside them is a miss."""
    return float(mean_f1(f1_tallies(truth, said, classes).sum(axis=0, keepdims=True))[0])


# --- confidence -------------------------------------------------------------------------------------------------


def expected_calibration_error(confidence: Floats, correct: Floats, bins: int = BINS) -> float:
    """Return the mean distance of confidence and accuracy over bins of equal mass (Naeini et al. 2015; equal-mass bins)."""
    order = np.argsort(confidence)
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [len(part) * abs(confidence[part].mean() - correct[part].mean()) for part in parts]
    return float(sum(gaps) / len(order))


def reliability(confidence: Floats, correct: Floats, bins: int = BINS) -> list[tuple[float, float]]:
    """Return (mean confidence, accuracy) of each bin of equal mass, unsure to sure."""
    parts = [part for part in np.array_split(np.argsort(confidence), bins) if len(part)]
    return [(float(confidence[part].mean()), float(correct[part].mean())) for part in parts]


class RiskCoverage(NamedTuple):
    """The risk–coverage curve: with the surest ``coverage`` answered, a share ``risk`` of them is wrong."""

    coverage: Floats
    risk: Floats

    @property
    def aurc(self) -> float:
        """Area under the curve (Geifman et al. 2019, https://arxiv.org/abs/1805.08206)."""
        return float(auc(self.coverage, self.risk)) if len(self.risk) > 1 else 0.0

    def risk_at(self, coverage: float) -> float:
        """Return the risk with the surest ``coverage`` answered."""
        return float(self.risk[max(0, int(np.ceil(coverage * len(self.risk))) - 1)])

    def coverage_at(self, risk: float) -> float:
        """Return the largest coverage whose risk is at most ``risk``."""
        good = np.flatnonzero(self.risk <= risk)
        return float(self.coverage[good[-1]]) if len(good) else 0.0


def risk_coverage(confidence: Floats, correct: Floats) -> RiskCoverage:
    """Return the risk–coverage curve, one point a row."""
    right = correct[np.argsort(-confidence, kind="stable")]
    count = np.arange(1, len(right) + 1)
    return RiskCoverage(count / len(right), np.cumsum(1.0 - right) / count)


# --- intervals --------------------------------------------------------------------------------------------------


class Interval(NamedTuple):
    """A figure and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def over_groups(figure: Callable[[Floats], Floats], tallies: Floats, groups: Ints, seed: int, draws: int = 500) -> Interval:
    """Return a figure of all rows and its 95 % interval; whole groups are drawn, as near-duplicates stand or fall together.

    Parameters
    ----------
    figure
        From the sums of tallies, shape (samples, columns), to the figure of each sample.
    tallies
        What the figure counts of each row, shape (rows, columns).
    groups
        Group number of each row, shape (rows,).
    seed
        Of the bootstrap.
    draws
        Number of bootstrap samples.

    """
    random = np.random.default_rng(seed)
    names, group = np.unique(groups, return_inverse=True)
    of_groups = csr_matrix((np.ones(len(group)), (group, np.arange(len(group))))) @ tallies
    drawn = [np.bincount(random.integers(0, len(names), len(names)), minlength=len(names)) for _ in range(draws)]
    low, high = np.percentile(figure(np.array(drawn) @ of_groups), [2.5, 97.5])
    return Interval(float(figure(tallies.sum(axis=0, keepdims=True))[0]), float(low), float(high))
