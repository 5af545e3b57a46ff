from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from conftest import DATA, rows

from bounceml import tables
from bounceml.labelled import Example
from bounceml.learning import audit, evaluate
from bounceml.values import Score, Thresholds

DECISIONS = rows(DATA / "audit.jsonl")
FIELDS = ["text", "was", "said", "decided", "accept", "why", "date"]


def test_every_decision_is_whole_and_valid() -> None:
    categories = tables.taxonomy().categories
    assert len(DECISIONS) >= 150
    assert len({row["text"] for row in DECISIONS}) == len(DECISIONS)
    for row in DECISIONS:
        assert list(row) == FIELDS
        assert row["why"]
        assert {row["was"], row["said"], row["decided"], *row["accept"]} <= set(categories)
        assert row["decided"] not in row["accept"]


def test_examples_carry_the_decided_labels() -> None:
    labelled: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted((DATA / "examples").glob("*.jsonl")):
        for row in rows(path):
            labelled[row["text"]].append(row)
    for decision in DECISIONS:
        assert labelled[decision["text"]], decision["text"]
        for row in labelled[decision["text"]]:
            assert (row["category"], row.get("accept", [])) == (decision["decided"], decision["accept"]), decision["text"]


def test_suspects_are_the_rows_answered_wrongly_worst_label_first() -> None:
    def example(text: str, category: str, *accept: str) -> Example:
        return Example(text, text, category, "en", "various", "own knowledge: various", "a.jsonl:1", accept)

    def scores(first: str, probability: float) -> list[Score]:
        second = "mailbox_full" if first == "user_unknown" else "user_unknown"
        return [Score(first, probability), Score(second, 1 - probability)]

    examples = [
        example("doubtful", "mailbox_full"),
        example("right", "user_unknown"),
        example("worst", "user_unknown"),
        example("accepted", "mailbox_full", "user_unknown"),
    ]
    given = [scores("user_unknown", 0.6), scores("user_unknown", 0.9), scores("mailbox_full", 0.95), scores("user_unknown", 0.99)]
    held = evaluate.HeldOut(examples, evaluate.readings_of(examples), np.arange(4), given, Thresholds(0.5, 0.9, 0.8, 0.7), "group2", 1)
    found = audit.suspects(held)
    assert [suspect.example.text for suspect in found] == ["worst", "doubtful"]
    assert [suspect.said for suspect in found] == ["mailbox_full", "user_unknown"]
    np.testing.assert_allclose([suspect.quality for suspect in found], [0.05, 0.4])
