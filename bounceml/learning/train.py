"""Labelled replies to a model folder: cross-validate, calibrate, set thresholds, fit on everything, write it all down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bounceml import __version__
from bounceml.classifier import Classifier
from bounceml.errors import DataError
from bounceml.learning import augment, calibration, crossval, dataset, evaluate, export, papers, settings
from bounceml.learning.calibration import Scaling
from bounceml.learning.dataset import Example

Progress = Callable[[str], None]


def _silent(step: str) -> None:
    """Report no progress."""


def hold_out(examples: Sequence[Example], chosen: settings.Settings, say: Progress = _silent) -> tuple[evaluate.HeldOut, Scaling]:
    """Judge every measured row by a model that saw no relative of it.

    Returns
    -------
    tuple
        What a report is made from, and the scaling that all held-out rows together ask for.

    """
    say("grouping near-duplicates and writing variants")
    groups = dataset.groups(examples)
    variants = augment.augment(examples, chosen.recipe, chosen.seed)
    say(f"cross-validating {len(examples)} rows in {groups.max() + 1} groups, {len(variants)} variants")
    held_out = crossval.out_of_fold(examples, variants, groups, chosen)
    measured = [examples[row] for row in held_out.rows]
    probabilities = calibration.cross_fitted(held_out, measured)
    readings = evaluate.readings_of(measured)
    found = calibration.thresholds(measured, readings, held_out.labels, probabilities, chosen)
    scores = evaluate.scores_of(held_out.labels, probabilities)
    held = evaluate.HeldOut(measured, readings, groups[held_out.rows], scores, found, f"group{chosen.folds}", chosen.seed)
    return held, calibration.fit_scaling(held_out.margins, calibration.right_labels(measured, held_out.labels))


def train(data: Path, out: Path, more: Sequence[Path] = (), seed: int | None = None, say: Progress = _silent) -> dict[str, Any]:
    """Train a model and write its folder.

    Parameters
    ----------
    data
        The data folder: ``examples/*.jsonl``, ``train.toml``, ``augment.toml``.
    out
        The model folder to write.
    more
        Further JSONL files of labelled replies.
    seed
        In place of the one in ``train.toml``.
    say
        Called with each step as it begins.

    Returns
    -------
    dict
        The report, as ``report.json`` holds it.

    Raises
    ------
    DataError
        Where the data or settings cannot be used; nothing is written then.

    """
    chosen = settings.read(data, seed)
    examples = dataset.load(data, more)
    held, scaling = hold_out(examples, chosen, say)
    say("measuring")
    report = evaluate.report(held)
    say("fitting on all rows")
    variants = augment.augment(examples, chosen.recipe, chosen.seed)
    fitted = crossval.fit(examples, variants, np.arange(len(examples)), chosen)
    export.calibrate_and_round(fitted, scaling)
    manifest = {
        "name": chosen.name,
        "version": __version__,
        "data": dataset.fingerprint(examples),
        "rows": len(examples),
        "seed": chosen.seed,
        "settings": {
            **chosen.model._asdict(),
            "synthetic_weight": chosen.synthetic_weight,
            "documented_weight": chosen.documented_weight,
            "variants": chosen.recipe.variants,
        },
        "scaling": scaling._asdict(),
        "thresholds": held.thresholds._asdict(),
        "metrics": {"signature": report["signature"], **report["headline"], **report["suppression"]},
    }
    say(f"writing {out}")
    export.write(out, fitted, manifest, papers.of_report(report) | {"card.md": papers.card(manifest, report)})
    return report


def cross_validate(data: Path, say: Progress = _silent) -> dict[str, Any]:
    """Return the report of grouped cross-validation over the real rows of a data folder.

    Raises
    ------
    DataError
        Where the data or settings cannot be used.

    """
    held, _ = hold_out(dataset.load(data), settings.read(data), say)
    say("measuring")
    return evaluate.report(held)


def evaluate_file(path: Path, model: Path | None = None) -> dict[str, Any]:
    """Return the report of a finished model on a labelled file that it was not trained on.

    Raises
    ------
    DataError
        Where the file cannot be used.
    ModelError
        Where the model folder cannot be used.

    """
    examples = dataset.distinct(dataset.read_file(path))
    if not examples:
        raise DataError(f"{path}: holds no labelled reply; give a JSONL file with text and category on each line")
    classifier = Classifier.load(model)
    scores = [classifier.model.scores(e.template) for e in examples]
    held = evaluate.HeldOut(
        examples, evaluate.readings_of(examples), dataset.groups(examples), scores, classifier.thresholds, f"file({path.name})", seed=0
    )
    return evaluate.report(held)
