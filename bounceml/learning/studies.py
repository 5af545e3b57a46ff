"""Harder questions than grouped cross-validation asks: an unseen provider, an unseen language, half of what a reply says.

All answers are the model's alone, on real rows, with the scaling that grouped cross-validation asked for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bounceml.labelled import Example
from bounceml.learning import crossval, dataset, metrics
from bounceml.learning.arrays import Floats
from bounceml.learning.calibration import Scaling
from bounceml.learning.corpus import Corpus
from bounceml.learning.crossval import OutOfFold, Run, Split
from bounceml.learning.settings import Settings

# Fewer rows say little of one provider or language (a share of 30 has an interval of 25 points); small providers are
# left out some at a time, each of them in one go.
_OWN_PROVIDER, _OWN_LANGUAGE, _PACKS = 60, 30, 5
_LIKENESS = (0.0, 0.3, 0.4, 0.5, 0.6, dataset.SAME_GROUP)


def study(
    rows: Corpus, whole: OutOfFold, scaling: Scaling, chosen: Settings, families: Mapping[str, str], say: Callable[[str], None]
) -> dict[str, Any]:
    """Return the answers, as JSON can hold them.

    Parameters
    ----------
    rows
        All examples.
    whole
        Held-out margins of grouped cross-validation, to compare with.
    scaling
        From margins to probabilities.
    chosen
        Settings of the model.
    families
        As ``dataset.families`` returns them.
    say
        Told each step as it begins.

    """
    folds = crossval.by_group(rows, chosen)
    by_provider = crossval.leaving_out(rows, providers(rows, families))
    by_language = crossval.leaving_out(rows, languages(rows.examples))
    wordless = chosen._replace(model=chosen.model._replace(concept_weight=0.0))  # codes alone have no concept in them
    runs = (
        Run("leaving providers out", rows, by_provider, chosen),
        Run("leaving languages out", rows, by_language, chosen),
        Run("taking codes away", rows.seen_as(text_only), folds, chosen),
        Run("taking words away", rows.seen_as(codes_only), folds, wordless),
    )
    new_provider, new_language, no_codes, no_words = crossval.out_of_folds(runs, say)

    def found(held: OutOfFold) -> dict[str, Any]:
        return figures(rows.examples, held, scaling)

    return {
        "by_provider": found(new_provider) | {"splits": _per_split(rows.examples, new_provider, by_provider)},
        "by_language": found(new_language) | {"splits": _per_split(rows.examples, new_language, by_language)},
        "parts": {"both": found(whole), "text only": found(no_codes), "codes only": found(no_words)},
        "ece_before_scaling": figures(rows.examples, whole, Scaling(1.0, 0.0))["ece"],
        "likeness": _by_likeness(rows.examples, whole, folds),
    }


# --- what is left out -------------------------------------------------------------------------------------------


def providers(rows: Corpus, families: Mapping[str, str]) -> list[str | None]:
    """Return for each example the name of the split that tests its provider; texts of our own are never tested.

    A family of providers with many rows has a split of its own; the others share some, and a row of no provider in
    particular is in the split of its group.
    """
    own = [dataset.family(e.provider, families) for e in rows.examples]
    counts = Counter(name for e, name in zip(rows.examples, own, strict=True) if e.measured and name)
    small = sorted((name for name in counts if counts[name] < _OWN_PROVIDER), key=lambda name: (-counts[name], name))
    pack = {name: number % _PACKS for number, name in enumerate(small)}  # by size in turn, so that packs are of one size
    return [
        None if not e.measured else name if name and name not in pack else f"small providers {pack.get(name or '', group % _PACKS) + 1}"
        for e, name, group in zip(rows.examples, own, rows.groups, strict=True)
    ]


def languages(examples: Sequence[Example]) -> list[str | None]:
    """Return for each example its language, Traditional Chinese with Chinese; None for a language of few real rows."""
    own = [e.language.partition("-")[0] for e in examples]
    counts = Counter(name for e, name in zip(examples, own, strict=True) if e.measured)
    return [name if counts[name] >= _OWN_LANGUAGE else None for name in own]


# --- what is taken away -----------------------------------------------------------------------------------------

_CODE = re.compile(r"(?<![\w.])[245](?:\d\d|\.\d{1,3}\.\d{1,3})(?![\w.])")


def text_only(template: str) -> str:
    """Return a template without reply codes and enhanced status codes.

    >>> text_only("550 5.1.1 <addr>: user unknown")
    '<addr>: user unknown'
    """
    return " ".join(_CODE.sub(" ", template).split())


def codes_only(template: str) -> str:
    """Return the reply codes and enhanced status codes of a template.

    >>> codes_only("550 5.1.1 <addr>: user unknown")
    '550 5.1.1'
    """
    return " ".join(_CODE.findall(template))


# --- figures ----------------------------------------------------------------------------------------------------


def _correct(examples: Sequence[Example], held: OutOfFold) -> Floats:
    said = held.margins.argmax(axis=1)
    return np.array([held.labels[column] in examples[row].right for row, column in zip(held.rows, said, strict=True)], dtype=np.float64)


def figures(examples: Sequence[Example], held: OutOfFold, scaling: Scaling) -> dict[str, Any]:
    """Return rows, accuracy, macro-F1, calibration error and coverage at 5 % risk of held-out margins."""
    column = {label: number for number, label in enumerate(held.labels)}
    truth = np.array([column[examples[row].category] for row in held.rows])
    correct = _correct(examples, held)
    said = np.where(correct > 0, truth, held.margins.argmax(axis=1))
    confidence = scaling.probabilities(held.margins).max(axis=1)
    return {
        "rows": len(held.rows),
        "accuracy": round(float(correct.mean()), 4),
        "macro_f1": round(metrics.macro_f1(truth, said, np.unique(truth)), 4),
        "ece": round(metrics.expected_calibration_error(confidence, correct), 4),
        "coverage_at_5": round(metrics.risk_coverage(confidence, correct).coverage_at(0.05), 4),
    }


def _per_split(examples: Sequence[Example], held: OutOfFold, splits: Sequence[Split]) -> list[dict[str, Any]]:
    correct = _correct(examples, held)
    return [
        {"name": split.name, "rows": len(split.test), "accuracy": round(float(correct[held.fold == number].mean()), 3)}
        for number, split in enumerate(splits)
    ]


def _by_likeness(examples: Sequence[Example], held: OutOfFold, folds: Sequence[Split]) -> list[dict[str, Any]]:
    """One row for each span of likeness (cosine, 0-1) of a test row to the training row most like it."""
    correct, likeness = _correct(examples, held), dataset.nearest(examples, [(fold.train, fold.test) for fold in folds])[held.rows]
    spans = np.digitize(likeness, _LIKENESS) - 1
    return [
        {"from": low, "rows": int(np.sum(spans == number)), "accuracy": round(float(correct[spans == number].mean()), 3)}
        for number, low in enumerate(_LIKENESS)
        if np.any(spans == number)
    ]
