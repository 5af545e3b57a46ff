"""The model folder: what is in it, whether it can be trusted, and its arrays without loading them.

manifest.json        format number, name, data hash, seed, settings, library versions, labels, thresholds, metrics, file hashes
arrays.safetensors   the fitted model as plain arrays (the safetensors format: a JSON header, then raw numbers)
card.md, report.*    for people
pipeline.joblib      the scikit-learn estimator, only for those who ask for it; prediction never opens it

Raise ``FORMAT`` when a reader of the old folder would misread the new one.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bounceml.errors import ModelError
from bounceml.values import Thresholds

FORMAT = 1
MANIFEST = "manifest.json"
ARRAYS = "arrays.safetensors"
PIPELINE = "pipeline.joblib"

# safetensors' names of the number types used here, with those of ``memoryview.cast``.
_TYPES: dict[str, Literal["d", "f", "b", "Q"]] = {"F64": "d", "F32": "f", "I8": "b", "U64": "Q"}


class Artefact(NamedTuple):
    """An opened model folder: its manifest and its arrays by name, flat and row by row."""

    folder: Path
    manifest: dict[str, Any]
    arrays: dict[str, memoryview[Any]]

    @property
    def name(self) -> str:
        """Name and version, as verdicts carry it."""
        return f"{self.manifest['name']} {self.manifest['version']}"

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds that training measured."""
        return Thresholds(**self.manifest["thresholds"])


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def default_folder() -> Path:
    """Return the folder of the model that ships with the package, or of the checkout's own."""
    package = Path(__file__).resolve().parent
    shipped = package / "models" / "default"
    return shipped if shipped.is_dir() else package.parent / "models" / "default"


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{folder}: no {MANIFEST} there; name a folder that `bounceml train --out` wrote") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); train the model again with `bounceml train --out {folder}`") from None
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise ModelError(
            f"{path}: model format {found!r}, but this version reads format {FORMAT}; "
            f"train the model again with `bounceml train --out {folder}`"
        )
    return manifest


def verified(folder: Path, manifest: dict[str, Any], name: str) -> Path:
    """Return the path of a file of the model after checking it against its hash in the manifest.

    Raises
    ------
    ModelError
        Where the file is missing, or is not the one that training wrote.

    """
    path = folder / name
    try:
        actual = digest(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); train the model again with `bounceml train`") from None
    if actual != manifest["files"].get(name):
        raise ModelError(
            f"{path}: was changed since the model was trained (its SHA-256 is not the manifest's); "
            "restore the file or train the model again"
        )
    return path


def _open_arrays(path: Path) -> dict[str, memoryview[Any]]:
    """Map the file and return a view of each array; nothing is copied.

    Source of the layout: https://huggingface.co/docs/safetensors (8 bytes of header length, JSON header, data).
    """
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    size = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + size]))
    body = data[8 + size :]
    arrays: dict[str, memoryview[Any]] = {}
    for name, info in header.items():
        if name != "__metadata__":
            start, end = info["data_offsets"]
            arrays[name] = body[start:end].cast(_TYPES[info["dtype"]])
    return arrays


def load(folder: Path) -> Artefact:
    """Open a model folder for prediction.

    Raises
    ------
    ModelError
        Where the folder is not one, is of another format, or was changed since it was trained.

    """
    manifest = _manifest(folder)
    return Artefact(folder, manifest, _open_arrays(verified(folder, manifest, ARRAYS)))


def load_pipeline(folder: Path) -> Any:
    """Return the scikit-learn pipeline of a model folder you trust, after checking its hash.

    This is the only place that unpickles, and no prediction comes here.
    """
    import joblib

    return joblib.load(verified(folder, _manifest(folder), PIPELINE))
