from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import DATA, MODEL, ROOT

from bounceml import Classifier, artefact
from bounceml.errors import ModelError


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


def test_changed_arrays_are_refused(copy: Path) -> None:
    path = copy / artefact.ARRAYS
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ModelError, match=r"arrays\.safetensors: was changed since the model was trained"):
        Classifier.load(copy)


def test_missing_arrays_are_named(copy: Path) -> None:
    (copy / artefact.ARRAYS).unlink()
    with pytest.raises(ModelError, match=r"arrays\.safetensors: cannot be read"):
        Classifier.load(copy)


def test_other_format_is_refused(copy: Path) -> None:
    path = copy / artefact.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": artefact.FORMAT + 1}))
    with pytest.raises(ModelError, match=f"model format {artefact.FORMAT + 1}, but this version reads format {artefact.FORMAT}; train"):
        Classifier.load(copy)


def test_model_of_other_features_is_refused(copy: Path) -> None:
    path = copy / artefact.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"family_weights": {"words": 1.0, "stems": 1.0}}))
    with pytest.raises(ModelError, match="made of the features words, stems, but this version has words, chars, concepts; train"):
        Classifier.load(copy)


@pytest.mark.parametrize("content", ["", "not json", "[]"])
def test_broken_manifest_is_refused(copy: Path, content: str) -> None:
    (copy / artefact.MANIFEST).write_text(content)
    with pytest.raises(ModelError, match=r"manifest\.json"):
        Classifier.load(copy)


def test_changed_pipeline_is_never_unpickled(copy: Path) -> None:
    (copy / artefact.PIPELINE).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ModelError, match=r"pipeline\.joblib: was changed"):
        artefact.load_pipeline(copy)


def test_committed_model_was_trained_on_the_committed_data() -> None:
    from bounceml.learning import dataset

    manifest = json.loads((MODEL / artefact.MANIFEST).read_text())
    assert manifest["data"] == dataset.fingerprint(dataset.load(DATA)), "data/examples changed: run `make train` and commit models/default"


def test_committed_report_is_the_models_own() -> None:
    manifest = json.loads((MODEL / artefact.MANIFEST).read_text())
    for name in ("report.json", "report.md", "report.html", "card.md"):
        assert manifest["metrics"]["signature"] in (MODEL / name).read_text(encoding="utf-8")


def test_readme_tells_the_figures_of_the_report() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    report = json.loads((MODEL / "report.json").read_text(encoding="utf-8"))
    value, low, high = report["headline"]["model"]["macro_f1"]
    suppressed = report["suppression"]
    assert f"On {report['rows']:,} real replies" in readme
    assert f"macro-F1 **{value:.3f}** [{low:.3f}, {high:.3f}]" in readme
    assert f"calibration error {report['calibration']['model']['ece']:.3f}" in readme
    assert f"{suppressed['false_suppressions']} of {suppressed['live']:,} live addresses wrongly suppressed" in readme
    assert f"`{report['signature']}`" in readme
