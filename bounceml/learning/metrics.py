"""Figures on predictions, as pure functions of arrays. Probabilities and rates are 0-1."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.metrics import auc, f1_score

from bounceml.learning.arrays import Floats, Ints

BINS = 15


class Interval(NamedTuple):
    """A figure and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def macro_f1(truth: Ints, said: Ints, classes: Ints) -> float:
    """Return the mean F1 over ``classes``; an answer outside them is a miss."""
    return float(f1_score(truth, said, labels=classes, average="macro", zero_division=0.0))


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


def over_groups(figure: Callable[[Ints], float], groups: Ints, seed: int, draws: int = 500) -> Interval:
    """Return ``figure`` of all rows and its 95 % interval; whole groups are drawn, as near-duplicates stand or fall together.

    Parameters
    ----------
    figure
        From row numbers (with repeats) to a figure.
    groups
        Group number of each row, shape (rows,).
    seed
        Of the bootstrap.
    draws
        Number of bootstrap samples.

    """
    random = np.random.default_rng(seed)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    values = []
    for _ in range(draws):
        chosen = random.integers(0, len(members), len(members))
        values.append(figure(np.concatenate([members[number] for number in chosen])))
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(figure(np.arange(len(groups))), float(low), float(high))
