"""Cross-validation: every real row is judged by a model that saw neither it nor a relative of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from bounceml.learning import dataset, pipeline
from bounceml.learning.arrays import Floats, Ints
from bounceml.learning.corpus import Corpus
from bounceml.learning.pipeline import Counts, ModelSettings
from bounceml.learning.settings import Settings


class Split(NamedTuple):
    """Numbers of the training rows and the test rows among all examples; ``name`` says what is tested."""

    name: str
    train: Ints
    test: Ints


class Run(NamedTuple):
    """One cross-validation, such as that by groups; ``name`` is its step in words."""

    name: str
    corpus: Corpus
    splits: Sequence[Split]
    settings: Settings


class OutOfFold(NamedTuple):
    """Held-out margins of the tested rows.

    ``rows`` are their numbers among all examples, shape (tested,); ``margins`` has shape (tested, labels), ``fold`` (the
    number of the split) shape (tested,).
    """

    labels: list[str]
    rows: Ints
    margins: Floats
    fold: Ints


# --- splits -----------------------------------------------------------------------------------------------------


def _measured(corpus: Corpus) -> Ints:
    """Return the numbers of the real texts, which alone are tested."""
    return np.flatnonzero([example.measured for example in corpus.examples])


def _split(corpus: Corpus, name: str, test: Ints) -> Split:
    """Return the split that tests the given rows and trains on all that share no group with any of them."""
    related = np.isin(corpus.groups, corpus.groups[test])
    return Split(name, np.flatnonzero(~related), test)


def by_group(corpus: Corpus, settings: Settings, added: int = 0) -> list[Split]:
    """Return the folds of grouped cross-validation: categories spread evenly, a group never on both sides.

    Parameters
    ----------
    corpus
        All examples.
    settings
        The number of folds, and the seed that draws them.
    added
        How many of the last examples are a user's own. The others stand in the folds that they would stand in without them:
        the draw of the folds alone (seeds 7, 8, 9; real rows only) moves the F1 of concurrency_limited by 0.06 and that of
        sender_blocked by 0.04. The added ones go to the fold of their like.

    """
    fixed = len(corpus.examples) - added
    measured = _measured(corpus)
    first, last = measured[measured < fixed], measured[measured >= fixed]
    groups = dataset.groups(corpus.examples[:fixed]) if added else corpus.groups
    splitter = StratifiedGroupKFold(settings.folds, shuffle=True, random_state=settings.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        folds = list(splitter.split(first, [corpus.examples[int(row)].category for row in first], groups[first]))
    tests = [first[test] for _, test in folds]
    fold_of = {int(group): number for number, test in enumerate(tests) for group in corpus.groups[test]}
    own = np.array([fold_of.setdefault(int(corpus.groups[row]), int(row) % settings.folds) for row in last], dtype=np.int64)
    return [_split(corpus, f"fold {number}", np.append(test, last[own == number - 1])) for number, test in enumerate(tests, 1)]


def leaving_out(corpus: Corpus, kinds: Sequence[str | None]) -> list[Split]:
    """Return one split for each kind, in which nothing of that kind, nor a relative of it, trains.

    Parameters
    ----------
    corpus
        All examples.
    kinds
        The kind of each example, such as its language; None for one that is never tested.

    """
    tested = set(_measured(corpus).tolist())
    splits = []
    for kind in sorted({kind for kind in kinds if kind is not None}):
        own = np.array([row for row, other in enumerate(kinds) if other == kind])
        test = np.array([row for row in own if row in tested], dtype=np.int64)
        if len(test):
            split = _split(corpus, kind, test)
            splits.append(split._replace(train=np.setdiff1d(split.train, own)))
    return splits


# --- fitting ----------------------------------------------------------------------------------------------------


class Training(NamedTuple):
    """What a model learns from: numbers of ``Corpus.texts``, the category of each and its weight in the loss, shape (rows,)."""

    rows: Ints
    categories: list[str]
    weights: Floats


def training(corpus: Corpus, rows: Ints, settings: Settings) -> Training:
    """Return what a model learns from the given examples and the variants of them, never of others."""
    synthetic = np.flatnonzero(np.isin([parent for parent, _ in corpus.variants], rows)) + len(corpus.examples)
    chosen = np.concatenate([rows, synthetic])
    texts = [corpus.texts[row] for row in chosen]
    weights = np.array([settings.documented_weight if e.documented else 1.0 if e.measured else settings.own_weight for e in texts])
    weights[len(rows) :] *= settings.synthetic_weight
    return Training(chosen, [e.category for e in texts], weights)


def _learn(counts: Counts, learnt_from: Training, model: ModelSettings) -> Pipeline:
    """Fit all of the pipeline that comes behind the counting."""
    learner = pipeline.build(model)[1:]
    with threadpool_limits(1):
        learner.fit(pipeline.select(counts, learnt_from.rows), learnt_from.categories, linear__sample_weight=learnt_from.weights)
    return learner


def _from_templates(corpus: Corpus, learner: Pipeline) -> Pipeline:
    """Return the whole pipeline, which counts the features of templates as those of the corpus were counted."""
    return Pipeline([("counts", corpus.counter), *learner.steps])


def fit(corpus: Corpus, rows: Ints, settings: Settings) -> Pipeline:
    """Fit the pipeline on the given rows and the variants of them."""
    return _from_templates(corpus, _learn(corpus.counts, training(corpus, rows, settings), settings.model))


def _held_out(counts: Counts, learnt_from: Training, test: Ints, model: ModelSettings) -> tuple[list[str], Floats]:
    learner = _learn(counts, learnt_from, model)
    return list(learner.classes_), learner.decision_function(pipeline.select(counts, test))


def _tasks(run: Run) -> Iterator[Any]:
    """Yield the work of each split; joblib lets all processes read the same counts, so that none is sent a copy."""
    for split in run.splits:
        yield delayed(_held_out)(run.corpus.counts, training(run.corpus, split.train, run.settings), split.test, run.settings.model)


def _gathered(run: Run, results: Iterable[tuple[list[str], Floats]]) -> OutOfFold:
    examples = run.corpus.examples
    labels = sorted({e.category for e in examples})
    margins = np.full((len(examples), len(labels)), -10.0)  # a label that a split never saw has no chance there
    fold = np.full(len(examples), -1, dtype=np.int64)
    for number, (split, (seen, scores)) in enumerate(zip(run.splits, results, strict=True)):
        columns = [labels.index(label) for label in seen]
        margins[split.test[:, None], np.array(columns)] = scores
        fold[split.test] = number
    rows = np.flatnonzero(fold >= 0)
    return OutOfFold(labels, rows, margins[rows], fold[rows])


def out_of_fold(corpus: Corpus, splits: Sequence[Split], settings: Settings) -> OutOfFold:
    """Return the held-out margins of every tested row; splits run on all cores."""
    return out_of_folds([Run("", corpus, splits, settings)], lambda name: None)[0]


def out_of_folds(runs: Sequence[Run], say: Callable[[str], None]) -> list[OutOfFold]:
    """Return the held-out margins of each run; ``say`` is told its name as it begins.

    The splits of all runs are one queue: the cores wait for each other once, not at the end of each run.
    """

    def tasks() -> Iterator[Any]:
        for run in runs:
            say(run.name)
            yield from _tasks(run)

    results = iter(Parallel(n_jobs=-1)(tasks()))
    return [_gathered(run, islice(results, len(run.splits))) for run in runs]


def out_of_fold_and_fitted(corpus: Corpus, splits: Sequence[Split], settings: Settings) -> tuple[OutOfFold, Pipeline]:
    """Return the held-out margins of every tested row, and the pipeline fitted on all rows, by one queue as well."""
    run = Run("", corpus, splits, settings)
    everything = training(corpus, np.arange(len(corpus.examples)), settings)
    learner, *results = Parallel(n_jobs=-1)([delayed(_learn)(corpus.counts, everything, settings.model), *_tasks(run)])
    return _gathered(run, results), _from_templates(corpus, learner)
