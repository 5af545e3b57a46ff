from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bounceml import Classifier

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
MODEL = ROOT / "models" / "default"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return Classifier.load(MODEL)


@pytest.fixture(scope="session")
def chinese() -> Classifier:
    return Classifier.load(MODEL, lang="zh")
