"""The documented table: its 39 examples and our own variants of each come out in their row, with the row's cause and remedy."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from conftest import DATA, ROOT, rows

from bounceml import Classifier, tables

EXAMPLES = rows(DATA / "examples" / "documented.jsonl")
VARIANTS = rows(ROOT / "tests" / "cases" / "documented_variants.jsonl")
TEXTS = {block["id"]: block for block in tomllib.loads((ROOT / "bounceml/tables/taxonomy.toml").read_text(encoding="utf-8"))["documented"]}


def test_the_table_has_39_examples_in_15_rows() -> None:
    assert len({row["row"] for row in EXAMPLES}) == 39
    assert {row["documented"] for row in EXAMPLES} == set(TEXTS) == {f"S{number:02}" for number in range(1, 16)}
    assert {row["documented"] for row in VARIANTS} == set(TEXTS)


@pytest.mark.parametrize("row", EXAMPLES + VARIANTS, ids=lambda row: f"{row['documented']}-{row['text'][-40:]}")
def test_row_category_cause_and_remedy(classifier: Classifier, chinese: Classifier, row: dict[str, Any]) -> None:
    for speaker, lang in ((classifier, "en"), (chinese, "zh")):
        verdict = speaker.classify(row["text"])
        assert verdict.category in {row["category"], *row.get("accept", [])}
        assert verdict.documented == row["documented"]
        assert verdict.cause.startswith(TEXTS[row["documented"]]["cause"][lang])
        assert verdict.remedy.startswith(TEXTS[row["documented"]]["remedy"][lang])


def test_every_lost_text_is_marked_as_ours() -> None:
    # SEED of the table: rows D and G and K1–K5 lost both cause and remedy, and no copy of the page has them.
    for name in ("S04", "S07", "S11", "S12", "S13", "S14", "S15"):
        assert TEXTS[name]["cause"]["origin"] == TEXTS[name]["remedy"]["origin"] == "ours"


def test_connection_refused_by_the_domain_itself_is_another_row_than_by_its_exchanger(classifier: Classifier) -> None:
    assert classifier.classify("<li@example.cn> : connect to example.cn: Connection refused").documented == "S05"
    assert classifier.classify("<li@example.cn> : connect to mx9.example.cn: Connection refused").documented == "S04"


def test_documented_rows_follow_categories_where_no_exception_is_written() -> None:
    assert tables.documented_row("mailbox_full", "552 mailbox full") == "S02"
    assert tables.documented_row("auth_failure", "550 spf fail") is None
