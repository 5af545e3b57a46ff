from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bounceml import Classifier, output, stream
from bounceml.values import Finding, Reply, Verdict
from bounceml.work import Worker
from bounceml.writers import format_of

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
MODEL = ROOT / "models" / "default"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def finding_of(verdict: Verdict) -> Finding:
    reply = Reply(
        verdict.reply,
        verdict.id,
        verdict.source,
        verdict.recipient,
        verdict.original_recipient,
        columns=verdict.columns,
        time=verdict.time,
        error=verdict.error,
    )
    return Finding(reply, verdict._replace(columns=None, time=None), "")


def written(to: str, verdicts: Iterable[Verdict]) -> str:
    """What is written of verdicts in a format of text."""
    out = io.TextIOWrapper(raw := io.BytesIO(), "utf-8", "backslashreplace", newline="")
    found, form = list(map(finding_of, verdicts)), format_of(to)
    form.write([form.begin(found, out)(found)], out, "en")
    out.flush()
    return raw.getvalue().decode()


class Judge:
    """Judges by a function."""

    def __init__(self, judge: Callable[[Reply], Verdict]) -> None:
        self._judge = judge

    def find(self, reply: Reply, explained: bool = False) -> Finding:
        return Finding(reply, self._judge(reply), "")


def answered(out: Path, run: dict[str, Any], judge: Callable[[Reply], Verdict]) -> None:
    """Do what `bounceml predict` does, with another judge."""
    with output.opened(out, run, say=lambda _: None) as opened:
        form = format_of(run["to"])
        worker = Worker(Judge(judge), lambda first: form.begin(first, opened.file))
        entries = stream.entries(run["inputs"], answered=opened.answered, ours=output.names(out))
        form.write((part.encoded for part in opened.parts(entries, worker.answers)), opened.file, "en")


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return Classifier.load(MODEL)


@pytest.fixture(scope="session")
def chinese() -> Classifier:
    return Classifier.load(MODEL, lang="zh")
