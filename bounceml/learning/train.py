"""Labelled replies to a model folder: cross-validate, calibrate, set thresholds, fit on everything, write it all down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bounceml import __version__, artefact
from bounceml.classifier import Classifier
from bounceml.errors import DataError, ModelError
from bounceml.labelled import Example, read_file
from bounceml.learning import calibration, compare, corpus, crossval, dataset, evaluate, export, papers, settings, studies
from bounceml.learning.calibration import Scaling
from bounceml.learning.corpus import Corpus
from bounceml.learning.crossval import OutOfFold

Progress = Callable[[str], None]


def _silent(step: str) -> None:
    """Report no progress."""


def hold_out(rows: Corpus, chosen: settings.Settings) -> tuple[evaluate.HeldOut, Scaling]:
    """Judge every measured row by a model that saw no relative of it.

    Returns
    -------
    tuple
        What a report is made from, and the scaling that all held-out rows together ask for.

    """
    return _judged(rows, crossval.out_of_fold(rows, crossval.by_group(rows, chosen), chosen), chosen)


def _judged(rows: Corpus, held_out: OutOfFold, chosen: settings.Settings) -> tuple[evaluate.HeldOut, Scaling]:
    """Return what a report is made from, and the scaling that all held-out margins together ask for."""
    measured = [rows.examples[row] for row in held_out.rows]
    scaling = calibration.fit_scaling(held_out.margins, calibration.right_labels(measured, held_out.labels))
    probabilities = calibration.cross_fitted(held_out, measured)
    readings = evaluate.readings_of(measured)
    held = evaluate.HeldOut(
        examples=measured,
        readings=readings,
        groups=rows.groups[held_out.rows],
        scores=evaluate.scores_of(held_out.labels, probabilities),
        thresholds=calibration.thresholds(measured, readings, held_out.labels, probabilities, chosen),
        split=f"group{chosen.folds}",
        seed=chosen.seed,
    )
    return held, scaling


def _prepare(examples: Sequence[Example], chosen: settings.Settings, say: Progress) -> Corpus:
    say("grouping near-duplicates and writing variants")
    rows = corpus.prepare(examples, chosen)
    say(f"cross-validating {len(examples)} rows in {rows.groups.max() + 1} groups, {len(rows.variants)} variants")
    return rows


def train(data: Path, out: Path, more: Sequence[Path] = (), seed: int | None = None, say: Progress = _silent) -> dict[str, Any]:
    """Train a model, compare it with the one before (that of ``out``, else the default one), and write its folder.

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
    rows = _prepare(examples, chosen, say)
    files = {str(path) for path in more}
    own = {example.place for example in examples if example.place.rpartition(":")[0] in files}
    held_out, fitted = crossval.out_of_fold_and_fitted(rows, crossval.by_group(rows, chosen, len(own)), chosen)
    say("measuring")
    held, scaling = _judged(rows, held_out, chosen)
    report = _since(out, evaluate.report(held))
    report |= compare.compare(held, report, lambda example: example.place in own, _before(out))
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
            "own_weight": chosen.own_weight,
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


def _before(out: Path) -> compare.Before | None:
    """Return the model that the new one takes the place of: the one in its folder, else the default one."""
    folder = out if (out / artefact.MANIFEST).exists() else artefact.default_folder()
    try:
        return compare.Before(Classifier.load(folder), papers.earlier(folder))
    except ModelError:  # of an older version; it cannot be asked
        return None


def _since(folder: Path | None, report: dict[str, Any]) -> dict[str, Any]:
    """Add what changed since the report that stands in the folder, if one does."""
    before = papers.earlier(folder) if folder else None
    return report | {"changes": evaluate.changes(report, before) if before else None}


def cross_validate(data: Path, out: Path | None = None, say: Progress = _silent) -> dict[str, Any]:
    """Return the report of grouped cross-validation over the real rows of a data folder, and of harder tests on them.

    Parameters
    ----------
    data
        The data folder.
    out
        A folder with an earlier report to compare with.
    say
        Called with each step as it begins.

    Raises
    ------
    DataError
        Where the data or settings cannot be used.

    """
    chosen = settings.read(data)
    rows = _prepare(dataset.load(data), chosen, say)
    held_out = crossval.out_of_fold(rows, crossval.by_group(rows, chosen), chosen)
    held, scaling = _judged(rows, held_out, chosen)
    found = studies.study(rows, held_out, scaling, chosen, dataset.families(data), say)
    say("measuring")
    return _since(out, evaluate.report(held)) | {"studies": found}


def evaluate_file(path: Path, model: Path | None = None) -> dict[str, Any]:
    """Return the report of a finished model on a labelled file that it was not trained on.

    Raises
    ------
    DataError
        Where the file cannot be used.
    ModelError
        Where the model folder cannot be used.

    """
    examples = dataset.distinct(read_file(path))
    if not examples:
        raise DataError(f"{path}: holds no labelled reply; give a JSONL file with text and category on each line")
    classifier = Classifier.load(model)
    scores = [classifier.model.scores(e.template) for e in examples]
    held = evaluate.HeldOut(
        examples, evaluate.readings_of(examples), dataset.groups(examples), scores, classifier.thresholds, f"file({path.name})", seed=0
    )
    return evaluate.report(held)
