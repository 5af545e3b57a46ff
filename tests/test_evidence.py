"""The words shown are those that decided: their weights give the probability, and they are marked where they stand."""

from __future__ import annotations

import io
import json
import random
import time
from math import exp, fsum

import pytest
from conftest import DATA, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from bounceml import Classifier, Reply, concepts, evidence, highlight, text
from bounceml.cli import main
from bounceml.model import FAMILIES, PLACES
from bounceml.values import Explanation, Mark
from bounceml.writers import format_of

TEXTS = [row["text"] for path in sorted((DATA / "examples").glob("*.jsonl")) for row in rows(path)]
SAMPLE = random.Random(7).sample(TEXTS, 400)


def probability(explained: Explanation, category: str) -> float:
    """The calibrated probability, from nothing but the weights."""
    margins = [base + fsum(word.weights[n] for word in explained.words) for n, base in enumerate(explained.intercept)]
    single = [1 / (1 + exp(-margin)) for margin in margins]
    return single[explained.labels.index(category)] / sum(single)


# --- the weights are true ---------------------------------------------------------------------------------------


def test_the_weights_of_the_words_give_the_probability(classifier: Classifier) -> None:
    for reply in SAMPLE:
        best = classifier.model.scores(text.read(Reply(reply)).template)[0]
        assert probability(classifier.explained(reply), best.category) == pytest.approx(best.probability, abs=1e-6)


def test_the_weights_shown_with_the_rest_give_the_probability(classifier: Classifier) -> None:
    checked = 0
    for reply in SAMPLE:
        verdict = classifier.classify(reply, explained=True)
        if verdict.decided_by != "model":
            continue
        checked += 1
        explained = classifier.explained(reply)
        column = explained.labels.index(verdict.category)
        others = [base + fsum(word.weights[n] for word in explained.words) for n, base in enumerate(explained.intercept) if n != column]
        shown = [item.weight for item in verdict.evidence if item.by in ("model", "rest", "intercept")]
        single = 1 / (1 + exp(-fsum(shown)))
        found = single / (single + sum(1 / (1 + exp(-margin)) for margin in others))
        best = classifier.model.scores(text.read(Reply(reply)).template)[0]
        assert found == pytest.approx(best.probability, abs=1e-6)
        assert verdict.confidence == round(best.probability, 4)
    assert checked >= 200


def test_every_family_counts(classifier: Classifier) -> None:
    for family in FAMILIES:
        without = Classifier.load()
        without.model._family_weights = {name: weight for name, weight in classifier.model._family_weights.items() if name != family}
        reply = "552 mailbox full"
        assert without.explained(reply).words != classifier.explained(reply).words, family


@given(st.text(max_size=300) | st.sampled_from(SAMPLE))
@settings(deadline=None)  # the first Chinese text loads the word list
def test_every_feature_has_its_place(anything: str) -> None:
    template = text.read(Reply(anything)).template
    assert list(PLACES) == list(FAMILIES)
    for family, features in FAMILIES.items():
        assert len(PLACES[family](template)) == len(features(template))
    for feature, ((start, end),) in zip(text.char_features(template), text.char_places(template), strict=True):
        assert template[start:end] == feature.strip()
    for word, (start, end) in zip(text.tokens(template), text.places(text.tokens(template), template), strict=True):
        assert template[start:end] == word


def test_place_of_a_concept_is_its_words() -> None:
    template = "mailbox of the user does not exist"
    places = dict(zip(concepts.concept_features(template), concepts.concept_places(template), strict=True))
    assert [template[start:end] for start, end in places["missing"]] == ["not", "exist"]
    assert [template[start:end] for start, end in places["mailbox&user"]] == ["mailbox", "user"]


@given(st.text(max_size=60) | st.sampled_from([word for reply in SAMPLE for word in reply.split()]))
def test_every_character_of_a_mark_comes_from_its_token(token: str) -> None:
    found = text.origins(token)
    assert len(found) == len(text.mark(token))
    assert all(0 <= start < end <= len(token) for start, end in found)


# --- where they stand in the reply ------------------------------------------------------------------------------


def marked(classifier: Classifier, reply: str) -> set[str]:
    told = classifier.classify(reply, explained=True).told
    assert told is not None
    return {reply[mark.start : mark.end] for mark in told.marks}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("552 5.2.2 <joe@example.com>: mailbox full!", {"5.2.2", "mailbox", "full"}),
        ("552-5.2.2 The mailbox\r\n552-5.2.2 of joe is\r\n552 5.2.2 full", {"5.2.2", "mailbox", "full"}),
        ("554 5.4.7 message expired (last transfail: 452 4.2.2 mailbox full)", {"4.2.2", "mailbox", "full"}),
        ("５５２ ｍａｉｌｂｏｘ ｆｕｌｌ", {"ｍａｉｌｂｏｘ", "ｆｕｌｌ"}),
        ("对方邮箱已满", {"邮箱", "已满"}),
        ("550 MI:SPF mx.example.com", {"MI:SPF"}),
        ("554 blocked, see http://www.spamhaus.org/query/bl?ip=192.0.2.1", {"http://www.spamhaus.org/query/bl?ip=192.0.2.1"}),
    ],
)
def test_words_are_marked_where_they_stand(classifier: Classifier, reply: str, words: set[str]) -> None:
    assert words <= marked(classifier, reply)


def test_the_inner_reply_is_marked_and_not_the_words_around_it(classifier: Classifier) -> None:
    reply = "554 5.4.7 message full of mailbox expired (last transfail: 452 4.2.2 mailbox full)"
    told = classifier.classify(reply, explained=True).told
    assert told
    assert all(mark.start > reply.index("transfail") for mark in told.marks)


def test_what_a_rule_matched_is_marked_alone(classifier: Classifier) -> None:
    strict = Classifier(classifier.model, classifier.thresholds._replace(model=1.0))
    reply = "550 5.7.1 Virus Example.Test found in your message"
    verdict = strict.classify(reply, explained=True)
    assert verdict.decided_by == "rule"
    assert marked(strict, reply) == {"Virus Example.Test found in your message"}
    assert verdict.told
    assert verdict.told.source.startswith("virus-found (ClamAV manual")


def test_a_code_is_told_with_its_meaning(classifier: Classifier) -> None:
    told = classifier.classify("5.1.1", explained=True).told
    assert told
    assert told.source == "5.1.1: Bad destination mailbox address (RFC 3463)"


@given(st.text(max_size=400) | st.sampled_from(SAMPLE))
@settings(deadline=None)
def test_marks_of_any_text_are_inside_it(anything: str) -> None:
    verdict = Classifier.load().classify(anything, explained=True)
    assert verdict.told
    assert all(0 <= mark.start < mark.end <= len(anything) and 0 < mark.strength <= 1 for mark in verdict.told.marks)
    reading = text.read(Reply(anything))
    assert len(evidence.in_reply(anything, reading)) == len(reading.template)


# --- as it is shown ---------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(classifier: Classifier, out: io.StringIO, reply: str) -> str:
    format_of("text").write([[classifier.classify(reply, explained=True)]], out, "en")
    return out.getvalue()


def test_a_terminal_gets_colours_and_a_pipe_braces(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[1;7;33mfull\x1b[0m" in written(classifier, Terminal(), "552 mailbox full")
    assert "{{{full}}}" in written(classifier, io.StringIO(), "552 mailbox full")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_no_colour_gets_none(classifier: Classifier, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    out = written(classifier, Terminal(), "552 mailbox full")
    assert "\x1b" not in out
    assert "{{{full}}}" in out


def test_stronger_is_more() -> None:
    marks = [Mark(0, 3, 0.2), Mark(4, 11, 0.5), Mark(12, 16, 1.0), Mark(12, 14, 0.1)]
    assert highlight.marked("552 mailbox full", marks, colour=False) == "{552} {{mailbox}} {{{full}}}"


def test_a_reply_does_not_speak_to_the_terminal(classifier: Classifier) -> None:
    out = written(classifier, io.StringIO(), "552 mail\x1b[2Jbox full \x9b1m\x07")
    assert not set(out) & {"\x1b", "\x9b", "\x07"}


def test_who_decided_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--explain", "--lang", "zh", "550 MI:SPF mx.example.com"]) == 0
    out = capsys.readouterr().out
    assert "退信原文: 550 {{{MI:SPF}}} mx.example.com" in out
    assert "判断依据: code MI:SPF (NetEase, http://" in out


def test_json_has_the_contract_of_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--explain", "--to", "jsonl", "552 mailbox full"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert {tuple(item) for item in row["evidence"]} == {("text", "by", "weight")}
    assert [item["by"] for item in row["evidence"]] == ["model", "model", "model", "intercept"]
    assert "told" not in row


@pytest.mark.parametrize("long", ["a " * 8000, "full" * 4000, "550-5.1.1 user\n" * 1000, "邮箱已满" * 4000, "<joe@example.com> " * 900])
def test_no_text_takes_long(classifier: Classifier, long: str) -> None:
    start = time.perf_counter()
    classifier.classify(long, explained=True)
    assert time.perf_counter() - start < 5
