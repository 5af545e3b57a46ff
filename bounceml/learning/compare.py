"""A new model against the one before: the same real rows, each held out, so that nothing gets silently worse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bounceml import tables
from bounceml.classifier import Classifier, judge
from bounceml.labelled import Example
from bounceml.learning import evaluate, metrics
from bounceml.learning.evaluate import HeldOut


class Before(NamedTuple):
    """The model before: what it says, and the report that stands beside it, if one does."""

    classifier: Classifier
    report: dict[str, Any] | None


def part(held: HeldOut, chosen: Callable[[Example], bool]) -> HeldOut:
    """Return what is held out of some rows only."""
    rows = [number for number, example in enumerate(held.examples) if chosen(example)]
    return held._replace(
        examples=[held.examples[row] for row in rows],
        readings=[held.readings[row] for row in rows],
        groups=held.groups[rows],
        scores=[held.scores[row] for row in rows],
    )


def _figures(fixed: HeldOut, report: dict[str, Any], earlier: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each figure as it was and is, with the interval of the new one, and whether the old one is better than all of it."""
    figures = []

    def add(name: str, was: float, now: Sequence[float], less_is_better: bool = False) -> None:
        value, low, high = (round(float(number), 4) for number in now)
        worse = was < low if less_is_better else was > high
        figures.append({"name": name, "was": was, "now": value, "low": low, "high": high, "worse": bool(worse)})

    for name, arm, figure in (
        ("macro-F1", "model", "macro_f1"),
        ("accuracy", "model", "accuracy"),
        ("accuracy with rules and codes", "both", "accuracy"),
    ):
        add(name, earlier["headline"][arm][figure][0], report["headline"][arm][figure])

    false = evaluate.falsely_suppressed(fixed)[:, None].astype(float)
    counted = metrics.over_groups(lambda sums: sums[:, 0], false, fixed.groups, fixed.seed)
    add("false suppressions", earlier["suppression"]["false_suppressions"], counted, less_is_better=True)

    classes = list(tables.taxonomy().categories)
    truth = np.array([classes.index(e.category) for e in fixed.examples])
    answers = [scores[0].category for scores in fixed.scores]
    said = np.array([classes.index(e.category if a in e.right else a) for e, a in zip(fixed.examples, answers, strict=True)])
    f1 = {row["category"]: row["f1"] for row in report["per_category"]}
    for row in earlier["per_category"]:
        name, was = row["category"], row["f1"]
        if name in f1 and abs(f1[name] - was) >= evaluate.MOVED:
            tallies = metrics.f1_tallies(truth, said, np.array([classes.index(name)]))
            add(f"F1 of {name}", was, metrics.over_groups(metrics.mean_f1, tallies, fixed.groups, fixed.seed))
    return figures


def _own(held: HeldOut, classifier: Classifier) -> dict[str, int]:
    """Return how many of the user's rows each model gets right, the new one by answers of folds that did not train on them."""
    was = [classifier.classify(example.text).category in example.right for example in held.examples]
    now = [
        judge(scores, reading, held.thresholds).category in example.right
        for example, reading, scores in zip(held.examples, held.readings, held.scores, strict=True)
    ]
    return {"rows": len(held.examples), "was": sum(was), "now": sum(now)}


def _on_fixed_rows(report: dict[str, Any]) -> dict[str, Any]:
    """Return the figures that a later model is compared with."""
    return {name: report[name] for name in ("signature", "rows", "headline", "suppression", "per_category")}


def _rows_of(report: dict[str, Any]) -> list[str]:
    """Return the parts of a signature that say which rows were judged; seed and folds may differ."""
    return [part for part in report["signature"].split("|") if part.startswith(("data:", "n:"))]


def compare(held: HeldOut, report: dict[str, Any], own: Callable[[Example], bool], before: Before | None) -> dict[str, Any]:
    """Return what changed against the model before.

    Parameters
    ----------
    held
        The new model's held-out answers, to the rows of the data folder and the user's own.
    report
        The report on them.
    own
        Tells the user's own rows. Figures are compared on the others only, which stay the same from model to model.
    before
        The model before, if there is one.

    Returns
    -------
    dict
        ``fixed``: the figures on the rows of the data folder, or None where ``report`` is on these alone. ``comparison``, or
        None without a model before: ``model``,
        ``since`` (the signature of its report, or None), ``figures`` (``name``, ``was``, ``now`` with its interval ``low``
        to ``high``, and ``worse``: beyond that interval; none where its report is on other rows), and ``own`` (``rows``, how
        many of them ``was`` and ``now`` right).

    """
    fixed = part(held, lambda example: not own(example))
    apart = None if len(fixed.examples) == len(held.examples) else _on_fixed_rows(evaluate.report(fixed))
    if before is None:
        return {"fixed": apart, "comparison": None}
    now, was = apart or report, before.report and (before.report.get("fixed") or before.report)
    comparison = {
        "model": before.classifier.model.name,
        "since": was["signature"] if was else None,
        "rows": now["rows"],
        "figures": _figures(fixed, now, was) if was and _rows_of(was) == _rows_of(now) else [],
        "own": _own(part(held, own), before.classifier),
    }
    return {"fixed": apart, "comparison": comparison}


def worse(report: dict[str, Any]) -> list[str]:
    """Return what got worse beyond its interval, each in words."""
    figures = (report.get("comparison") or {}).get("figures", ())
    return [f"{row['name']} was {row['was']:g} and is {row['now']:g} [{row['low']:g}, {row['high']:g}]" for row in figures if row["worse"]]
