from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounceml import Classifier, Reply, tables, values
from bounceml.errors import UsageError

FIELDS = [
    "id",
    "source",
    "recipient",
    "original_recipient",
    "reply",
    "reply_code",
    "status",
    "outcome",
    "category",
    "group",
    "documented",
    "confidence",
    "decided_by",
    "permanence",
    "who_acts",
    "action",
    "suppress",
    "retry_after",
    "blocklist",
    "suggestion",
    "cause",
    "remedy",
    "evidence",
    "alternatives",
    "model",
    "error",
]


def test_verdict_fields_are_the_contract() -> None:
    assert list(values.FIELDS) == FIELDS


def test_json_has_the_fields_of_the_contract_and_behind_them_the_columns_of_the_row(classifier: Classifier) -> None:
    assert list(classifier.classify("552 mailbox full").to_dict()) == FIELDS
    row = classifier.classify(Reply("552 mailbox full", columns={"campaign": "7", "model": "T"})).to_dict()
    assert list(row) == [*FIELDS, "campaign", "input_model"]


@pytest.mark.parametrize("bare", ["550", "5.0.0", "550 5.0.0", "5.7.1", "554 5.7.1", "", "   "])
def test_a_code_that_tells_nothing_decides_nothing(classifier: Classifier, bare: str) -> None:
    verdict = classifier.classify(bare)
    assert verdict.category == "unknown"
    assert not verdict.suppress


@pytest.mark.parametrize(
    "text",
    [
        "550 Failed for unspecified reasons",
        "Undeliverable",
        "delivery to mailspamprotection.com failed",
        "failed [203.5.2.2]",
        "554 transaction failed",
    ],
)
def test_no_cause_is_made_up(classifier: Classifier, text: str) -> None:
    verdict = classifier.classify(text)
    assert verdict.category == "unknown", (verdict.category, verdict.confidence)


@pytest.mark.parametrize(
    ("text", "suppress"),
    [
        ("550 5.1.1 <joe@example.com>: Recipient address rejected: User unknown in local recipient table", True),
        ("450 4.1.1 <joe@example.com>: Recipient address rejected: User unknown in local recipient table", False),
        ("552 5.2.2 mailbox full", False),
        ("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", False),
        ("550 5.7.26 Unauthenticated email is not accepted due to domain's DMARC policy", False),
    ],
)
def test_only_a_dead_address_is_suppressed(classifier: Classifier, text: str, suppress: bool) -> None:
    verdict = classifier.classify(text)
    assert verdict.suppress is suppress
    assert (verdict.action == "suppress") is suppress


def test_permanence_comes_from_the_cause_before_the_code(classifier: Classifier) -> None:
    busy = classifier.classify("520 This IP has too many concurrents, please try again later")
    assert (busy.category, busy.permanence) == ("concurrency_limited", "temporary")


def test_an_expired_message_keeps_its_inner_cause(classifier: Classifier) -> None:
    verdict = classifier.classify("554 5.4.7 [internal] message expired (last transfail: 452 4.2.2 mailbox full)")
    assert (verdict.category, verdict.outcome) == ("mailbox_full", "expired")


def test_what_a_reply_names_is_read_from_it(classifier: Classifier) -> None:
    listed = classifier.classify("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org")
    assert listed.blocklist == "zen.spamhaus.org"
    assert classifier.classify("451 4.7.1 Greylisting in action, please come back in 300 seconds").retry_after == 300


def test_a_host_name_is_no_evidence_of_spam(classifier: Classifier) -> None:
    verdict = classifier.classify("550 5.1.1 no such user here, host mx.mailspamprotection.com")
    assert verdict.category == "user_unknown"


def test_unreadable_input_keeps_its_row(classifier: Classifier) -> None:
    verdict = classifier.classify(Reply("", source="x.eml", error="x.eml: cannot be read"))
    assert (verdict.category, verdict.error, verdict.source) == ("unknown", "x.eml: cannot be read", "x.eml")


def test_language_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="choose one of en, zh"):
        Classifier.load(lang="fr")


def test_explained_verdict_shows_the_words(classifier: Classifier) -> None:
    verdict = classifier.classify("552 5.2.2 mailbox full", explained=True)
    assert {"5.2.2", "full"} <= {item.text for item in verdict.evidence if item.weight > 0}


@given(st.text(max_size=400))
@settings(deadline=None)  # the first Chinese text loads the word list
def test_any_text_gets_a_verdict(anything: str) -> None:
    verdict = Classifier.load().classify(anything)
    assert verdict.category in tables.taxonomy().categories
    assert 0.0 <= verdict.confidence <= 1.0


HEAVY = {"sklearn", "pandas", "numpy", "scipy", "joblib", "polars", "matplotlib"}


def test_prediction_imports_nothing_heavy() -> None:
    code = (
        "import sys, pickle; pickle.load = pickle.loads = pickle.Unpickler = None; from bounceml.cli import main; "
        "main(['predict', '--to', 'jsonl', '552 5.2.2 mailbox full', '对方邮箱已满']); "
        "import jieba; print(sorted(sys.modules), jieba.dt.initialized, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, initialized = done.stderr.strip().splitlines()[-1].rsplit(" ", 1)
    assert initialized == "False", "jieba read its big dictionary"
    assert not [name for name in HEAVY if f"'{name}'" in loaded]


def test_values_are_immutable(classifier: Classifier) -> None:
    verdict = classifier.classify("550 5.1.1 no such user")
    with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
        verdict.category = "unknown"  # type: ignore[misc]


def test_a_stated_failure_is_a_bounce_whatever_the_reply_agrees_to(classifier: Classifier) -> None:
    (verdict,) = classifier.classify_all([Reply("221 2.0.0 Bye", outcome="failed")])
    assert verdict.outcome == "failed"
    assert verdict.category != "not_a_bounce"
