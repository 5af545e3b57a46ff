from __future__ import annotations

import pytest

from bounceml import decide, tables
from bounceml.values import Codes, Decision, Evidence, Score, Thresholds, Vote

LIMITS = Thresholds(model=0.5, suppress=0.9, rules=0.8, codes=0.7)
SURE = [Score("mailbox_full", 0.9), Score("user_unknown", 0.1)]
UNSURE = [Score("mailbox_full", 0.4), Score("user_unknown", 0.3)]


def vote(category: str, by: str = "r") -> Vote:
    return Vote(category, Evidence("x", by, 1.0))


def test_order_of_the_deciders() -> None:
    provider, rule, code = [vote("user_unknown")], [vote("virus")], [vote("greylisted")]
    assert decide.decide(SURE, provider, rule, code, LIMITS)[:3:2] == ("user_unknown", "code")
    assert decide.decide(SURE, [], rule, code, LIMITS)[:3:2] == ("mailbox_full", "model")
    assert decide.decide(UNSURE, [], rule, code, LIMITS)[:3] == ("virus", 0.8, "rule")
    assert decide.decide(UNSURE, [], [], code, LIMITS)[:3] == ("greylisted", 0.7, "code")
    assert decide.decide(UNSURE, [], [], [], LIMITS)[:3] == ("unknown", 0.4, "nobody")


def test_a_rule_knows_more_than_a_model_that_knows_no_cause() -> None:
    no_cause = [Score("unknown", 0.9), Score("virus", 0.1)]
    assert decide.decide(no_cause, [], [vote("virus")], [], LIMITS)[:3] == ("virus", 0.8, "rule")
    assert decide.decide(no_cause, [], [], [vote("greylisted")], LIMITS)[:3] == ("unknown", 0.9, "model")


def test_without_words_the_model_does_not_decide() -> None:
    assert decide.decide(SURE, [], [], [], LIMITS, has_words=False).category == "unknown"


def test_time_in_the_queue_is_the_cause_where_no_other_is_told() -> None:
    nothing = decide.decide(UNSURE, [], [], [], LIMITS)
    assert decide.expired(nothing, LIMITS)[:3] == ("queue_expired", 0.8, "rule")
    told = decide.decide(SURE, [], [], [], LIMITS)
    assert decide.expired(told, LIMITS) == told


def test_runners_up_leave_out_the_chosen_one() -> None:
    assert [s.category for s in decide.decide(SURE, [], [], [], LIMITS).alternatives] == ["user_unknown"]


@pytest.mark.parametrize(
    ("category", "code", "try_again", "expected"),
    [
        ("user_unknown", 550, False, "permanent"),
        ("user_unknown", 450, False, "temporary"),
        ("user_unknown", 550, True, "temporary"),
        ("rate_limited", 550, False, "temporary"),
        ("spam_suspected", 550, False, "permanent"),
        ("spam_suspected", 451, False, "temporary"),
        ("spam_suspected", None, False, "unknown"),
        ("unknown", 550, False, "unknown"),
    ],
)
def test_permanence(category: str, code: int | None, try_again: bool, expected: str) -> None:
    assert decide.permanence(tables.taxonomy().categories[category], Codes(code, None), "failed", try_again) == expected


def test_a_delayed_mail_has_not_failed_for_good() -> None:
    assert decide.permanence(tables.taxonomy().categories["user_unknown"], Codes(550, None), "delayed", try_again=False) == "temporary"


@pytest.mark.parametrize(
    ("category", "confidence", "outcome", "suppress"),
    [
        ("user_unknown", 0.95, "failed", True),
        ("user_unknown", 0.85, "failed", False),
        ("user_unknown", 0.95, "delayed", False),
        ("user_unknown", 0.95, "expired", False),
        ("mailbox_full", 0.99, "failed", False),
    ],
)
def test_suppression_takes_proof(category: str, confidence: float, outcome: str, suppress: bool) -> None:
    decision = Decision(category, confidence, "model", (), ())
    found = decide.policy(tables.taxonomy().categories[category], decision, Codes(550, None), outcome, try_again=False, thresholds=LIMITS)
    assert found.suppress is suppress
    assert (found.action == "suppress") is suppress


@pytest.mark.parametrize("outcome", ["delivered", "relayed", "expanded", "not_a_bounce"])
def test_a_report_that_nothing_failed_settles_it(outcome: str) -> None:
    settled, _ = decide.reported(outcome, SURE)
    assert settled is not None
    assert settled.category == "not_a_bounce"


def test_a_failure_that_a_report_states_is_a_bounce() -> None:
    scores = [Score("not_a_bounce", 0.6), Score("mailbox_full", 0.3), Score("user_unknown", 0.1)]
    assert decide.reported("failed", scores)[1] == [Score("mailbox_full", pytest.approx(0.75)), Score("user_unknown", pytest.approx(0.25))]
    assert decide.reported("unknown", scores) == (None, scores)
