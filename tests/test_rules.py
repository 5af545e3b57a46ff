"""Every rule and every provider's code proves itself: it hits its own case and leaves its near-miss alone."""

from __future__ import annotations

import re
import time

import pytest
from conftest import DATA

from bounceml import rules, tables, text
from bounceml.learning import dataset
from bounceml.tables import ProviderCode, Rule
from bounceml.values import Reply

RULES = tables.rules()
CODES = tuple(tables.provider_codes().values())
SILENT = (
    "550",
    "5.0.0",
    "5.7.1",
    "550 5.0.0",
    "550 5.7.1",
    "554 5.7.1 [203.5.2.2]",
    "refused by [203.5.2.2]",
    "552 bytes",
    "host mx1.mailspamprotection.com said: 550 5.7.1",
    "mailspamprotection.com",
)


def masked(raw: str) -> str:
    return text.read(Reply(raw)).template


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_hits_its_hit_and_not_its_miss(rule: Rule) -> None:
    assert re.search(rule.pattern, masked(rule.hit), re.IGNORECASE), masked(rule.hit)
    assert not re.search(rule.pattern, masked(rule.miss), re.IGNORECASE), masked(rule.miss)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_first_rule_that_hits_gives_the_category(rule: Rule) -> None:
    first = next(rules.rule_votes(masked(rule.hit)))
    assert first.category == rule.category, first.evidence


def test_every_rule_is_complete() -> None:
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    for rule in RULES:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.id)
        assert rule.category in tables.taxonomy().categories, rule.id
        assert rule.source.strip(), rule.id


def test_every_cause_has_a_rule() -> None:
    assert {rule.category for rule in RULES} == set(tables.taxonomy().categories) - {"unknown"}


@pytest.mark.parametrize("raw", SILENT)
def test_nothing_is_read_into_a_text_that_tells_nothing(raw: str) -> None:
    assert not list(rules.rule_votes(masked(raw)))
    assert not list(rules.provider_votes(text.read(Reply(raw)).named))


@pytest.mark.parametrize("long", ["a " * 5000, "<addr> " * 2000, "sender " * 2000, "user mailbox is " * 1000, "邮件" * 4000])
def test_no_rule_is_slow_on_a_long_text(long: str) -> None:
    start = time.perf_counter()
    list(rules.rule_votes(long))
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.code)
def test_a_provider_code_is_found_as_a_token_only(code: ProviderCode) -> None:
    (vote,) = rules.provider_votes(text.read(Reply(f"550 refused ({code.code}), see the help page")).named)
    assert (vote.category, vote.evidence.text) == (code.category, code.code)
    assert not list(rules.provider_votes(text.read(Reply(f"550 refused X{code.code}9 see the help page")).named))
    assert code.category in tables.taxonomy().categories


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("退信代码HL:REP该IP发送行为异常", "HL:REP"),
        ("错误码:FailedOperation.NotAuthenticatedSender.操作失败。", "FailedOperation.NotAuthenticatedSender"),
        ("550 5.1.8 Access denied, bad outbound sender AS(42003).", "AS(42003)"),
        ("552 5.2.2 see https://support.google.com/mail/?p=OverQuotaPerm x1-20020a05 - gsmtp", "OverQuotaPerm"),
        ("554 blocked using zen.spamhaus.org (127.255.255.254)", "127.255.255.254"),
    ],
)
def test_a_provider_code_is_found_among_chinese_brackets_and_links(raw: str, code: str) -> None:
    assert [vote.evidence.text for vote in rules.provider_votes(text.read(Reply(raw)).named)] == [code]


def test_every_provider_code_is_complete() -> None:
    with tables.open_table("providers.csv") as file:
        assert len(CODES) == sum(1 for _ in file) - 1, "a code stands twice in providers.csv"
    assert len(CODES) >= 350
    for code in CODES:
        assert code.category in tables.taxonomy().categories, code.code
        assert all((code.provider.strip(), code.source.strip())), code.code
        assert list(code.meaning) == list(tables.LANGUAGES), code.code
        assert re.fullmatch(r"[A-Z][ -~]{10,}[.]", code.meaning["en"]), code.code
        assert re.fullmatch(r".*[\u4e00-\u9fff].*。", code.meaning["zh"]), code.code
    assert not [code.code for code in CODES if re.fullmatch(r"\d+|[a-z]+|[245]\.[0-7]\.\d", code.code)]


def test_no_example_says_otherwise_than_its_code() -> None:
    wrong = [
        (example.place, vote.evidence.text, example.category)
        for example in dataset.load(DATA)
        for vote in rules.provider_votes(text.read(Reply(example.text)).named)
        if vote.category not in example.right
    ]
    assert not wrong
