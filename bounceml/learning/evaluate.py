"""Honest figures: labelled rows and held-out scores to a report, by the same judging as prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bounceml import __version__, explain, rules, tables, text
from bounceml.classifier import judge
from bounceml.decide import UNKNOWN
from bounceml.labelled import Example
from bounceml.learning import metrics
from bounceml.learning.arrays import Booleans, Floats, Ints
from bounceml.learning.dataset import fingerprint
from bounceml.tables import policy as policies
from bounceml.values import Codes, Decision, Reading, Reply, Score, Thresholds, Voice

_RARE = 5  # a language or provider of fewer rows is counted under "others" in the report


class HeldOut(NamedTuple):
    """What a report is made from: rows, their groups, and each row's scores by a model that has not seen it."""

    examples: Sequence[Example]
    readings: Sequence[Reading]
    groups: Ints
    scores: Sequence[list[Score]]
    thresholds: Thresholds
    split: str
    seed: int


def readings_of(examples: Sequence[Example]) -> list[Reading]:
    """Return each example made ready to judge."""
    return [text.read(Reply(e.text)) for e in examples]


def scores_of(labels: Sequence[str], probabilities: Floats) -> list[list[Score]]:
    """Return the rows of an array of shape (rows, labels) as scores, most probable first."""
    return [[Score(labels[column], float(row[column])) for column in np.argsort(-row, kind="stable")] for row in probabilities]


# --- the three arms ---------------------------------------------------------------------------------------------


def _model_only(scores: list[Score]) -> Decision:
    return Decision(scores[0].category, scores[0].probability, "model", (), ())


def _rules_only(reading: Reading, thresholds: Thresholds) -> Decision:
    nothing = [Score(category, 0.0) for category in tables.taxonomy().categories]
    return judge(nothing, reading, thresholds._replace(model=1.0))


def _both(held: HeldOut) -> list[Decision]:
    return [judge(scores, reading, held.thresholds) for scores, reading in zip(held.scores, held.readings, strict=True)]


def _arms(held: HeldOut) -> dict[str, list[Decision]]:
    return {
        "model": [_model_only(scores) for scores in held.scores],
        "rules": [_rules_only(reading, held.thresholds) for reading in held.readings],
        "both": _both(held),
    }


# --- figures ----------------------------------------------------------------------------------------------------


class _Judged(NamedTuple):
    """Decisions of one arm as arrays over the rows."""

    truth: Ints
    said: Ints
    accepted: Ints  # as ``said``, but an accepted answer counts as the row's own category
    correct: Floats
    confidence: Floats
    decisions: list[Decision]


def _judged(held: HeldOut, decisions: list[Decision], classes: list[str]) -> _Judged:
    column = {name: number for number, name in enumerate(classes)}
    truth = np.array([column[e.category] for e in held.examples])
    said = np.array([column[d.category] for d in decisions])
    right = np.array([d.category in e.right for d, e in zip(decisions, held.examples, strict=True)])
    return _Judged(truth, said, np.where(right, truth, said), right.astype(float), np.array([d.confidence for d in decisions]), decisions)


def _headline(held: HeldOut, arm: _Judged) -> dict[str, Any]:
    classes = np.unique(arm.truth)

    def interval(figure: Callable[[Floats], Floats], tallies: Floats) -> list[float]:
        return [round(value, 4) for value in metrics.over_groups(figure, tallies, held.groups, held.seed)]

    answered = np.array([d.category != UNKNOWN or "unknown" in e.right for d, e in zip(arm.decisions, held.examples, strict=True)])
    return {
        "accuracy": interval(metrics.share, metrics.share_tallies(arm.correct)),
        "strict_accuracy": interval(metrics.share, metrics.share_tallies(arm.truth == arm.said)),
        "macro_f1": interval(metrics.mean_f1, metrics.f1_tallies(arm.truth, arm.accepted, classes)),
        "strict_macro_f1": interval(metrics.mean_f1, metrics.f1_tallies(arm.truth, arm.said, classes)),
        "coverage": round(float(answered.mean()), 4),
    }


def _top_2(held: HeldOut) -> float:
    """The share of rows of which one of the model's first two answers is right."""
    return float(np.mean([any(s.category in e.right for s in scores[:2]) for e, scores in zip(held.examples, held.scores, strict=True)]))


def _subsets(held: HeldOut, arms: dict[str, _Judged]) -> list[dict[str, Any]]:
    """Accuracy where codes mislead and where there are none."""
    votes = [next(rules.code_votes(reading.codes), None) for reading in held.readings]
    chosen = {
        "enhanced status code of another cause": [
            v is not None and v.category not in e.right for v, e in zip(votes, held.examples, strict=True)
        ],
        "no code at all": [reading.codes == Codes(None, None) for reading in held.readings],
    }
    return [
        {"name": name, "rows": sum(here)} | {arm: round(float(judged.correct[np.array(here)].mean()), 4) for arm, judged in arms.items()}
        for name, here in chosen.items()
        if any(here)
    ]


_SWEEP = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


class _Suppression(NamedTuple):
    """Whether each row's address is dead, and the confidence from which it would be suppressed, where anything suppresses it."""

    dead: Booleans
    may_be: Booleans
    confidence: Floats

    def at(self, threshold: float) -> Booleans:
        """Return which addresses would be suppressed."""
        return self.may_be & (self.confidence >= threshold)


def _suppression(held: HeldOut, decisions: list[Decision]) -> _Suppression:
    least = held.thresholds._replace(suppress=0.0)
    may_be = [
        explain.general(reading, decision, least, Voice(), "", policies.default()).suppress
        for reading, decision in zip(held.readings, decisions, strict=True)
    ]
    return _Suppression(
        np.array([_is_dead(example) for example in held.examples]), np.array(may_be), np.array([d.confidence for d in decisions])
    )


def _is_dead(example: Example) -> bool:
    return any(tables.taxonomy().categories[category].may_suppress for category in example.right)


def falsely_suppressed(held: HeldOut) -> Booleans:
    """Return for each row whether its address is live and would be suppressed."""
    found = _suppression(held, _both(held))
    return found.at(held.thresholds.suppress) & ~found.dead


def _suppression_at(found: _Suppression, threshold: float) -> dict[str, Any]:
    suppressed, dead, live = found.at(threshold), int(found.dead.sum()), int((~found.dead).sum())
    wrong, missed = int((suppressed & ~found.dead).sum()), int((found.dead & ~suppressed).sum())
    return {
        "threshold": threshold,
        "live": live,
        "false_suppressions": wrong,
        "false_suppression_rate": round(wrong / max(1, live), 5),
        "dead": dead,
        "missed_suppression_rate": round(missed / max(1, dead), 4),
    }


def _per_category(arm: _Judged, classes: list[str]) -> list[dict[str, Any]]:
    rows = []
    for number, name in enumerate(classes):
        hit = int(np.sum((arm.truth == number) & (arm.accepted == number)))
        false = int(np.sum((arm.truth != number) & (arm.accepted == number)))
        count = int(np.sum(arm.truth == number))
        if count:
            precision, recall = hit / max(1, hit + false), hit / count
            f1 = 2 * hit / max(1, 2 * hit + false + count - hit)
            rows.append({"category": name, "rows": count, "precision": round(precision, 3), "recall": round(recall, 3), "f1": round(f1, 3)})
    return rows


def _by(names: Sequence[str], arm: _Judged) -> list[dict[str, Any]]:
    counts = {name: names.count(name) for name in set(names)}
    kept = [name if counts[name] >= _RARE else "others" for name in names]
    rows = []
    for name in sorted(set(kept), key=lambda n: (-kept.count(n), n)):
        here = np.array([k == name for k in kept])
        rows.append({"name": name, "rows": int(here.sum()), "accuracy": round(float(arm.correct[here].mean()), 3)})
    return rows


def _per_rule(held: HeldOut) -> list[dict[str, Any]]:
    """One row a rule: how often it speaks, how often it is right, and how often another rule contradicts it."""
    counts: dict[str, list[int]] = {rule.id: [0, 0, 0] for rule in tables.rules()}
    for example, reading in zip(held.examples, held.readings, strict=True):
        votes = list(rules.rule_votes(reading.template))
        for vote in votes:
            row = counts[vote.evidence.by]
            row[0] += 1
            row[1] += vote.category in example.right
            row[2] += any(other.category != vote.category for other in votes)
    return [
        {"rule": name, "hits": c[0], "precision": round(c[1] / c[0], 3) if c[0] else None, "conflicts": c[2]} for name, c in counts.items()
    ]


def _calibration(arm: _Judged) -> dict[str, Any]:
    curve = metrics.risk_coverage(arm.confidence, arm.correct)
    points = np.linspace(0, len(curve.risk) - 1, min(200, len(curve.risk))).astype(int)
    return {
        "ece": round(metrics.expected_calibration_error(arm.confidence, arm.correct), 4),
        "reliability": [[round(value, 4) for value in pair] for pair in metrics.reliability(arm.confidence, arm.correct)],
        "aurc": round(curve.aurc, 4),
        "risk_at_80": round(curve.risk_at(0.8), 4),
        "coverage_at_1": round(curve.coverage_at(0.01), 4),
        "coverage_at_5": round(curve.coverage_at(0.05), 4),
        "risk_coverage": [[round(float(curve.coverage[p]), 4), round(float(curve.risk[p]), 4)] for p in points],
    }


def _errors(held: HeldOut, arm: _Judged, most: int = 40) -> list[dict[str, Any]]:
    """The surest wrong answers: the first place to look for a wrong label or a missing wording."""
    wrong = [row for row in np.argsort(-arm.confidence, kind="stable") if not arm.correct[row]]
    return [
        {
            "place": held.examples[row].place,
            "text": held.examples[row].text[:160],
            "category": held.examples[row].category,
            "said": arm.decisions[row].category,
            "confidence": round(float(arm.confidence[row]), 3),
        }
        for row in wrong[:most]
    ]


def signature(held: HeldOut) -> str:
    """Return what a figure must never travel without: version, data, split, seed, threshold, number of rows."""
    return (
        f"v:{__version__}|data:{fingerprint(held.examples)[:8]}|split:{held.split}|seed:{held.seed}"
        f"|thr:{held.thresholds.model:.2f}|n:{len(held.examples)}"
    )


def report(held: HeldOut) -> dict[str, Any]:
    """Return all figures on held-out rows, as JSON can hold them.

    ``headline`` gives [value, low, high] with a 95 % interval over groups for the model alone, for rules and codes
    alone, and for both together as prediction uses them. An accepted second category counts as right, except in the
    figures called strict.
    """
    classes = list(tables.taxonomy().categories)
    arms = {name: _judged(held, decisions, classes) for name, decisions in _arms(held).items()}
    both, model = arms["both"], arms["model"]
    suppression = _suppression(held, both.decisions)
    scored = len({e.category for e in held.examples})
    deciders = [d.decided_by for d in both.decisions]
    return {
        "signature": signature(held),
        "split": held.split,
        "rows": len(held.examples),
        "groups": len(set(held.groups.tolist())),
        "categories": scored,
        "thresholds": held.thresholds._asdict(),
        "headline": {name: _headline(held, arm) for name, arm in arms.items()},
        "top_2": round(_top_2(held), 4),
        "subsets": _subsets(held, arms),
        "decided_by": {name: deciders.count(name) for name in ("model", "rule", "code", "nobody")},
        "suppression": _suppression_at(suppression, held.thresholds.suppress),
        "suppression_sweep": [_suppression_at(suppression, threshold) for threshold in _SWEEP],
        "calibration": {"model": _calibration(model), "both": _calibration(both)},
        "per_category": _per_category(model, classes),
        "per_language": _by([e.language for e in held.examples], model),
        "per_group": _by([tables.taxonomy().categories[e.category].group for e in held.examples], model),
        "per_rule": _per_rule(held),
        "confusion": {"labels": classes, "counts": _confusion(model, len(classes))},
        "errors": _errors(held, model),
    }


def _confusion(arm: _Judged, classes: int) -> list[list[int]]:
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (arm.truth, arm.accepted), 1)
    return [[int(value) for value in row] for row in counts]


# --- against an earlier report ----------------------------------------------------------------------------------

_FIGURES = {
    "macro-F1": ("headline", "model", "macro_f1", 0),
    "accuracy": ("headline", "model", "accuracy", 0),
    "strict accuracy": ("headline", "model", "strict_accuracy", 0),
    "accuracy with rules and codes": ("headline", "both", "accuracy", 0),
    "calibration error": ("calibration", "model", "ece"),
    "coverage at 5 % risk": ("calibration", "model", "coverage_at_5"),
    "false suppressions": ("suppression", "false_suppressions"),
    "missed suppression rate": ("suppression", "missed_suppression_rate"),
    "rows": ("rows",),
}
MOVED = 0.02  # a category whose F1 moved less is not worth a line: the interval of most is twice that


def _at(report: dict[str, Any], path: Sequence[str | int]) -> Any:
    found: Any = report
    for key in path:
        found = found[key]
    return found


def changes(report: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any] | None:
    """Return what moved since an earlier report: ``since`` (its signature), and ``figures`` with ``was`` and ``now``.

    A report on the same rows by the same code has nothing to tell beyond what the earlier one told.
    """
    if earlier["signature"] == report["signature"]:
        return earlier.get("changes")
    figures = [{"name": name, "was": _at(earlier, path), "now": _at(report, path)} for name, path in _FIGURES.items()]
    was = {row["category"]: row["f1"] for row in earlier["per_category"]}
    now = {row["category"]: row["f1"] for row in report["per_category"]}
    figures += [
        {"name": f"F1 of {name}", "was": was[name], "now": now[name]}
        for name in sorted(was.keys() & now.keys(), key=lambda name: now[name] - was[name])
        if abs(now[name] - was[name]) >= MOVED
    ]
    return {"since": earlier["signature"], "figures": figures}
