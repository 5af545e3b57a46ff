"""What rebuilds a model: ``train.toml`` and ``augment.toml`` of the data folder, checked."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

from bounceml.errors import DataError
from bounceml.learning.augment import Recipe, read_recipe
from bounceml.learning.pipeline import ModelSettings


class Settings(NamedTuple):
    """Everything besides the labelled rows that a model depends on.

    ``synthetic_weight``, ``own_weight`` and ``documented_weight`` are weights in the loss (a plain real row has 1);
    ``suppress_risk`` and ``answer`` (0-1) set the thresholds, see ``calibration``.
    """

    name: str
    seed: int
    folds: int
    model: ModelSettings
    recipe: Recipe
    synthetic_weight: float
    own_weight: float
    documented_weight: float
    suppress_risk: float
    answer: float


def read(folder: Path, seed: int | None = None) -> Settings:
    """Read the settings of a data folder; ``seed`` replaces the one of the file.

    Raises
    ------
    DataError
        Where a file is missing, is no TOML or lacks a value.

    """
    path = folder / "train.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return Settings(
            name=data["name"],
            seed=data["seed"] if seed is None else seed,
            folds=data["folds"],
            model=ModelSettings(**data["model"]),
            recipe=read_recipe(folder / "augment.toml"),
            synthetic_weight=data["weights"]["synthetic"],
            own_weight=data["weights"]["own"],
            documented_weight=data["weights"]["documented"],
            suppress_risk=data["thresholds"]["suppress_risk"],
            answer=data["thresholds"]["answer"],
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not usable training settings ({error!r}); compare it with the one in the data folder") from None
