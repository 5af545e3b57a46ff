"""A user's policy: it says what to do and suppresses less, and never an address that no reply proves dead."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from bounceml import Classifier, Reply, output, tables
from bounceml.cli import main
from bounceml.errors import DataError
from bounceml.tables import policy

DEAD = "550 5.1.1 user unknown"
DEFAULT = Path(policy.__file__).with_name("policy.toml")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(
        "suppress_threshold = 0.996\n"
        '[category.mailbox_full]\naction = "review"\n'
        "[category.user_unknown]\nsuppress_days = 7\n"
        '[category.host_unknown]\nsuppress_days = "never"\n'
        "[category.no_mx]\nmay_suppress = false\n"
    )
    return path


def test_the_default_is_an_example_of_the_form(tmp_path: Path) -> None:
    copy = tmp_path / "policy.toml"
    copy.write_bytes(DEFAULT.read_bytes())
    assert policy.read(copy) == policy.default()


def test_the_default_has_days_for_every_category_that_may_be_suppressed() -> None:
    known = policy.default()
    assert known.categories == tables.taxonomy().categories
    assert set(known.suppress_days) == {category.id for category in known.categories.values() if category.may_suppress}


def test_a_file_replaces_what_it_names_and_nothing_else(own: Path) -> None:
    found, before = policy.read(own), policy.default()
    assert found.categories["mailbox_full"].action == "review"
    assert not found.categories["no_mx"].may_suppress
    assert found.suppress_days | {"user_unknown": 7, "host_unknown": None} == found.suppress_days
    assert found.suppress_days["mailbox_disabled"] == before.suppress_days["mailbox_disabled"]
    same = set(found.categories) - {"mailbox_full", "no_mx"}
    assert all(found.categories[name] == before.categories[name] for name in same)


def test_verdicts_follow_the_file(own: Path) -> None:
    strict, usual = Classifier.load(policy=own), Classifier.load()
    assert (usual.classify("552 mailbox full").action, strict.classify("552 mailbox full").action) == ("retry", "review")
    assert (strict.classify(DEAD).suppress, strict.classify(DEAD).suppress_days) == (True, 7)
    nowhere = "550 5.4.4 no MX record found for domain example.net"
    assert usual.classify(nowhere).category == "no_mx"
    assert (usual.classify(nowhere).suppress, strict.classify(nowhere).suppress) == (True, False)
    assert strict.classify(nowhere).action == "fix_address"
    assert (usual.thresholds.suppress, strict.thresholds.suppress) == (pytest.approx(0.9557, abs=0.04), 0.996)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("threshold = 0.99", r"policy.toml: 'threshold' is not a key of a policy; there are suppress_threshold, category"),
        ("suppress_threshold = 2", r"policy.toml, suppress_threshold: 2 is not a probability; give a number from 0 to 1"),
        ("suppress_threshold = true", r"suppress_threshold: True is not a probability"),
        ("suppress_threshold = nan", r"suppress_threshold: nan is not a probability"),
        ("suppress_threshold = 0.5", r"suppress_threshold: 0.5 is below what was measured to be safe; give a number from 0\.\d+ to 1"),
        ("category = 1", r"policy.toml, category: write a table for each"),
        ("[category]\nuser_unknown = 1", r"policy.toml, category.user_unknown: write a table, as \[category.user_unknown\]"),
        ("[category.user_unknwon]", r"policy.toml, category.user_unknwon: is not a category; `bounceml taxonomy` lists them"),
        ("[category.virus]\nactoin = 'none'", r"category.virus: 'actoin' is not a key of a policy; there are action, suppress_days, may_"),
        ("[category.virus]\naction = 'burn'", r"category.virus.action: 'burn' is not one of fix_address, retry, slow_down"),
        ("[category.virus]\naction = 'suppress'", r"category.virus.action: 'suppress' is not one of"),
        ("[category.virus]\naction = []", r"category.virus.action: \[\] is not one of"),
        (
            "[category.mailbox_full]\nmay_suppress = true",
            r"may_suppress: cannot be true, as no such reply proves an address dead; user_unknown, ",
        ),
        ("[category.no_mx]\nmay_suppress = 'no'", r"category.no_mx.may_suppress: 'no' is neither true nor false"),
        ("[category.mailbox_full]\nsuppress_days = 3", r"category.mailbox_full.suppress_days: such an address is never suppressed; leave"),
        ("[category.no_mx]\nsuppress_days = 0", r"suppress_days: 0 is neither a number of days from 1 to 36500 nor \"never\""),
        ("[category.no_mx]\nsuppress_days = true", r"suppress_days: True is neither"),
        ("[category.no_mx]\nsuppress_days = 1e9", r"suppress_days: 1000000000.0 is neither"),
        ("[category.no_mx]\nsuppress_days = 999999", r"suppress_days: 999999 is neither"),
        ("[category", r"policy.toml: is no TOML file \("),
    ],
)
def test_what_a_policy_cannot_say(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        Classifier.load(policy=path)


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--policy", "nowhere.toml", "x"]) == 2
    assert capsys.readouterr().err == (
        "bounceml: nowhere.toml: cannot be read (No such file or directory); check the name and its permissions\n"
    )


def test_no_file_suppresses_what_the_default_does_not(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("".join(f"[category.{name}]\nmay_suppress = true\n" for name in policy.default().suppress_days))
    assert policy.read(path) == policy.default()


def test_a_mistyped_address_is_to_be_fixed(classifier: Classifier) -> None:
    verdict = classifier.classify("<wang@shou.com> : connect to shou.com: Connection refused")
    assert (verdict.suggestion, verdict.action, verdict.who_acts) == ("wang@sohu.com", "fix_address", "sender")
    dead = classifier.classify(Reply("550 5.1.2 Host not found", recipient="joe@gmial.com"))
    assert (dead.suggestion, dead.action, dead.suppress) == ("joe@gmail.com", "fix_address", True)


def test_the_list_keeps_an_address_for_the_days_of_the_file(own: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "replies.csv", tmp_path / "list.csv"
    table.write_text(f"email,time,reply\njoe@example.com,2026-05-01T00:00:00Z,{DEAD}\n")
    assert main(["predict", str(table), "--policy", str(own), "--to", "suppression", "-o", str(out)]) == 0
    (row,) = csv.DictReader(out.read_text().splitlines())
    assert (row["email"], row["expires_at"]) == ("joe@example.com", "2026-05-08T00:00:00Z")


def test_a_report_follows_the_file(own: Path, tmp_path: Path) -> None:
    replies, page = tmp_path / "replies.txt", tmp_path / "report.html"
    replies.write_text("552 mailbox full\n")
    assert main(["report", str(replies), "-o", str(page), "--policy", str(own)]) == 0
    assert [row["name"] for row in json.loads(page.with_suffix(".json").read_text())["actions"]["rows"]] == ["review"]


def test_another_content_is_another_run(own: Path) -> None:
    given: dict[str, Any] = {"inputs": ["a"], "format": "auto", "column": None, "to": "csv", "lang": "en", "scheme": None}
    given |= {"audience": "sender", "explain": False, "threshold": None, "model": None, "imap_done": None, "policy": own, "rules": None}
    first = output.run_of(given)
    assert output.run_of({**given, "policy": None}) != first
    moved = own.with_name("moved.toml")
    own.rename(moved)
    assert output.run_of({**given, "policy": moved}) == first
    moved.write_text("# changed\n")
    assert output.run_of({**given, "policy": moved}) != first
