"""Grouped cross-validation: every real row is judged by a model that saw neither it nor a relative of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from bounceml.learning import pipeline
from bounceml.learning.arrays import Floats, Ints
from bounceml.learning.dataset import Example
from bounceml.learning.settings import Settings

Variants = Sequence[tuple[int, Example]]


class OutOfFold(NamedTuple):
    """Held-out margins of the measured rows.

    ``rows`` are their numbers among all examples, shape (measured,); ``margins`` has shape (measured, labels), ``fold``
    shape (measured,).
    """

    labels: list[str]
    rows: Ints
    margins: Floats
    fold: Ints


def fit(examples: Sequence[Example], variants: Variants, rows: Ints, settings: Settings) -> Pipeline:
    """Fit the pipeline on the given real rows and the variants of them, never on those of other rows."""
    chosen = set(rows.tolist())
    made = [variant for parent, variant in variants if parent in chosen]
    training = [examples[row] for row in rows] + made
    weights = np.array([settings.documented_weight if e.documented else 1.0 for e in training])
    weights[len(rows) :] *= settings.synthetic_weight
    fitted = pipeline.build(settings.model)
    with threadpool_limits(1):
        fitted.fit([e.template for e in training], [e.category for e in training], linear__sample_weight=weights)
    return fitted


def splits(examples: Sequence[Example], groups: Ints, settings: Settings) -> Iterator[tuple[Ints, Ints]]:
    """Yield (training rows, test rows) of each fold; a group is never on both sides, and only real texts are tested."""
    measured = np.flatnonzero([example.measured for example in examples])
    splitter = StratifiedGroupKFold(settings.folds, shuffle=True, random_state=settings.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        folds = list(splitter.split(measured, [examples[int(row)].category for row in measured], groups[measured]))
    for _, test in folds:
        related = np.isin(groups, groups[measured[test]])
        yield np.flatnonzero(~related), measured[test]


def _held_out(examples: Sequence[Example], variants: Variants, train: Ints, test: Ints, settings: Settings) -> tuple[list[str], Floats]:
    fitted = fit(examples, variants, train, settings)
    return list(fitted.classes_), fitted.decision_function([examples[row].template for row in test])


def out_of_fold(examples: Sequence[Example], variants: Variants, groups: Ints, settings: Settings) -> OutOfFold:
    """Return the held-out margins of every measured row; folds run on all cores."""
    chosen = list(splits(examples, groups, settings))
    results = Parallel(n_jobs=-1)(delayed(_held_out)(examples, variants, train, test, settings) for train, test in chosen)
    labels = sorted({e.category for e in examples})
    margins = np.full((len(examples), len(labels)), -10.0)  # a label that a fold never saw has no chance there
    fold = np.full(len(examples), -1, dtype=np.int64)
    for number, ((_, test), (seen, scores)) in enumerate(zip(chosen, results, strict=True)):
        columns = [labels.index(label) for label in seen]
        margins[test[:, None], np.array(columns)] = scores
        fold[test] = number
    rows = np.flatnonzero(fold >= 0)
    return OutOfFold(labels, rows, margins[rows], fold[rows])
