"""A user's own rules decide before the model, are checked as ours are, and cannot hang a run."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from pathlib import Path
from typing import Any

import conftest
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bounceml import Classifier, Reply, backtracking, output, own_rules, rules
from bounceml.cli import main
from bounceml.errors import DataError

OURS = "550 5.7.1 Message held in quarantine by legal policy 12"
RULE = {
    "id": "our-gateway",
    "category": "content_rejected",
    "label": "quarantine",
    "pattern": r"held in quarantine by \w+ policy",
    "source": "our gateway's manual, page 12",
    "hit": "550 5.7.1 Message held in quarantine by finance policy 7",
    "miss": "550 5.7.1 Message refused by finance policy 7",
}
OTHER = {
    "id": "left-the-company",
    "category": "user_unknown",
    "pattern": "no longer works here|已离职",
    "hit": "550 王伟已离职",
    "miss": "550 the link no longer works",
}


def written(path: Path, *rules: dict[str, Any]) -> Path:
    text = "".join("[[rule]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rule.items()) for rule in rules)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return written(tmp_path / "rules.toml", RULE, OTHER)


# --- what they decide -------------------------------------------------------------------------------------------


def test_they_are_asked_before_the_model_and_the_providers_codes(own: Path) -> None:
    classifier = Classifier.load(rules=own)
    verdict = classifier.classify(f"{OURS}, MI:SPF")
    assert (verdict.category, verdict.decided_by, verdict.confidence, verdict.user_label) == ("content_rejected", "rule", 1.0, "quarantine")
    assert [(item.text, item.by) for item in verdict.evidence] == [("held in quarantine by legal policy", "our-gateway")]
    assert Classifier.load().classify(f"{OURS}, MI:SPF").category == "auth_failure"


def test_a_reply_that_none_hits_is_judged_as_ever(own: Path, classifier: Classifier) -> None:
    reply = "552 5.2.2 mailbox full"
    assert Classifier.load(rules=own).classify(reply) == classifier.classify(reply)._replace(user_label="")


def test_a_rule_without_a_label_and_an_input_that_cannot_be_read_have_an_empty_one(own: Path) -> None:
    classifier = Classifier.load(rules=own)
    gone = classifier.classify("550 王伟已离职")
    assert (gone.category, gone.suppress, gone.user_label) == ("user_unknown", True, "")
    assert classifier.classify(Reply("", error="x: cannot be read")).user_label == ""


def test_what_arrived_is_no_bounce_whatever_a_rule_says(own: Path) -> None:
    assert Classifier.load(rules=own).classify(Reply(OURS, outcome="delivered")).category == "not_a_bounce"


def test_an_expired_message_keeps_the_cause_of_the_rule(own: Path) -> None:
    verdict = Classifier.load(rules=own).classify(Reply(OURS, outcome="expired"))
    assert (verdict.category, verdict.outcome, verdict.user_label) == ("content_rejected", "expired", "quarantine")


def test_the_label_stands_in_the_output_where_there_are_rules_only(own: Path, classifier: Classifier) -> None:
    replies = [Reply("552 mailbox full", columns={"user_label": "theirs"}), Reply(OURS)]
    rows = [verdict.to_dict() for verdict in Classifier.load(rules=own).classify_all(replies)]
    assert [(row["user_label"], row.get("input_user_label")) for row in rows] == [("", "theirs"), ("quarantine", None)]
    assert "user_label" not in classifier.classify(OURS).to_dict()
    found = conftest.written("csv", Classifier.load(rules=own, scheme="powermta").classify_all(replies))
    table = list(csv.DictReader(io.StringIO(found, newline="")))
    assert [(row["scheme_label"], row["user_label"]) for row in table] == [("quota-issues", ""), ("content-related", "quarantine")]


def test_for_a_person(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--rules", str(own), "--explain", OURS]) == 0
    out = capsys.readouterr().out
    assert "Your label: quarantine\n" in out
    assert "{{{held in quarantine by legal policy}}}" in out
    assert "Decided by: rule our-gateway (our gateway's manual, page 12)" in out
    assert main(["predict", "--rules", str(own), "--lang", "zh", OURS, "552 mailbox full"]) == 0
    head, first, _ = capsys.readouterr().out.splitlines()
    assert head.split() == ["收件人", "类别", "您的标签", "把握", "处理", "退信原文"]
    assert first.split()[1] == "quarantine"


def test_a_report_follows_them(own: Path, tmp_path: Path) -> None:
    replies, page = tmp_path / "replies.txt", tmp_path / "report.html"
    replies.write_text(f"{OURS}\n")
    assert main(["report", str(replies), "-o", str(page), "--rules", str(own)]) == 0
    assert [row["name"] for row in json.loads(page.with_suffix(".json").read_text())["causes"]["rows"]] == ["content_rejected"]


def test_other_rules_are_another_run(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given: dict[str, Any] = {"inputs": ["a"], "format": "auto", "column": None, "to": "csv", "lang": "en", "scheme": None}
    given |= {"audience": "sender", "explain": False, "threshold": None, "model": None, "imap_done": None, "policy": None, "rules": own}
    first = output.run_of(given)
    assert output.run_of({**given, "rules": None}) != first
    written(own, RULE)
    assert output.run_of(given) != first


# --- what is checked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "Our Gateway"}, "rule 'Our Gateway': write the id in lower case, its words joined by hyphens"),
        ({"id": 7}, r"rule 1: id is 7; write it as text"),
        ({"id": "virus-found"}, "rule 'virus-found': another rule has this id, one of this file or of bounceml"),
        ({"category": "spam"}, "rule 'our-gateway': 'spam' is not a category; `bounceml taxonomy` lists them"),
        ({"pattern": "held (in"}, r"rule 'our-gateway': its pattern is no regular expression of Python \(missing \)"),
        ({"pattern": "x{99999999999999999999}"}, "its pattern is no regular expression of Python"),
        ({"pattern": "(held ?)*in"}, "its pattern may take too long, as there are too many ways"),
        (
            {"pattern": "not there"},
            "its pattern misses its hit, which reads '550 5.7.1 message held in quarantine by finance policy <num>'",
        ),
        ({"pattern": "policy"}, "its pattern hits its miss, which reads '550 5.7.1 message refused by finance policy <num>'"),
        ({"miss": ""}, "rule 'our-gateway': has no miss; a rule needs id, category, pattern, hit, miss"),
        ({"lable": "x"}, "'lable' is not a key of a rule; there are id, category, pattern, source, hit, miss, label"),
        ({"label": 5}, "label is 5; write it as text, in quotes"),
    ],
)
def test_a_rule_that_is_not_usable(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = written(tmp_path / "rules.toml", RULE | change)
    with pytest.raises(DataError, match=f"{re.escape(str(path))}, .*{message}"):
        Classifier.load(rules=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[rules]]\n", "'rules' is not a key of a file of rules; write each rule as [[rule]]"),
        ("rule = 1\n", "write each rule as [[rule]]"),
        ("rule = [1]\n", "rule 1: write each rule as [[rule]]"),
        ("[[rule]\n", "is no TOML file"),
    ],
)
def test_a_file_that_holds_no_rules(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(content)
    with pytest.raises(DataError, match=re.escape(message)):
        own_rules.read(path)


def test_two_rules_of_one_id_and_a_rule_that_another_stands_before(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rule 'our-gateway': another rule has this id"):
        own_rules.read(written(tmp_path / "rules.toml", RULE, RULE))
    wide = RULE | {"id": "wide", "pattern": "held in quarantine"}
    with pytest.raises(DataError, match="rule 'our-gateway': its hit is hit by 'wide' before; put it in front of that"):
        own_rules.read(written(tmp_path / "rules.toml", wide, RULE))
    assert len(own_rules.read(written(tmp_path / "rules.toml", RULE, wide | {"hit": "550 held in quarantine"}))) == 2


# --- none takes long --------------------------------------------------------------------------------------------

LONG = ["a" * 2000, "ab" * 1000, "a " * 1000, "user " * 400]


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "(a+)+$",
            "(a|aa)+$",
            "(a|a)*b",
            "(a*)*b",
            r"^(\w+\s?)*$",
            "(.*)*x",
            "a.*a.*a.*b",
            "(?:a?){40}a{40}",
            r"(\w+)+@",
            "(a{1,40}){1,40}b",
        ),
        *(r"(?=(a+)+b)a", r"(?:a|b|ab)*c", r"([a-z]+)\1+!", "(?i:(a+)+)b", r"(?P<x>a*)*(?P=x)b", "(?:(?:a{200}){200}){200}"),
    ],
)
def test_a_pattern_that_could_hang_is_refused(pattern: str) -> None:
    assert backtracking.steps(pattern, own_rules.LONGEST) > own_rules.MOST_STEPS


@pytest.mark.parametrize(
    "pattern",
    [
        *("user.*unknown", r"\w+ \w+ \w+ full", r"mailbox (?:of )?\w+ (?:is )?full", "(?:foo|bar)+!", "quota.{0,60}exceeded"),
        *(
            r"[^ ]+ [^ ]+ [^ ]+ policy",
            r"policy \d+\.\d+",
            "已离职|不再任职",
            r"\b(?:held|kept) in quarantine\b(?! list)",
            "<addr>.{0,20}<host>",
        ),
    ],
)
def test_a_usual_pattern_is_not(pattern: str) -> None:
    assert backtracking.steps(pattern, own_rules.LONGEST) <= own_rules.MOST_STEPS
    for long in LONG:
        start = time.perf_counter()
        re.search(pattern, long, re.IGNORECASE)
        assert time.perf_counter() - start < 2


_PARTS = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", r"\w", "[^a]", r"\b", "ab", " "]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{0,9}", "{2,5}", "*?", "+?"])).map(lambda two: f"(?:{two[0]}){two[1]}"),
        inner.map(lambda one: f"(?={one})"),
        inner.map(lambda one: f"(?>{one})"),
        inner.map(lambda one: f"({one})\\1"),
    ),
    max_leaves=8,
)


@given(_PARTS, st.sampled_from(["!", "", "b", "$"]))
@settings(max_examples=300, deadline=None)
def test_the_bound_holds(pattern: str, end: str) -> None:
    try:
        re.compile(pattern + end)
    except re.error:  # a group within a group has another number
        assume(False)
    assume(backtracking.steps(pattern + end, 200) <= 10**6)
    for long in LONG:
        start = time.perf_counter()
        re.search(pattern + end, long[:200], re.IGNORECASE)
        assert time.perf_counter() - start < 0.5, pattern + end


def test_a_rule_sees_the_beginning_of_a_text_only(own: Path) -> None:
    (rule, _) = own_rules.read(own)
    words = "held in quarantine by legal policy"
    assert any(rules.own_votes((rule,), "x" * (rules.LONGEST - len(words)) + words))
    assert not any(rules.own_votes((rule,), "x" * rules.LONGEST + words))
