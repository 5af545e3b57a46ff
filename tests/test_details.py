"""What a reply tells besides its category: each row of details.toml keeps its word, and nothing is invented."""

from __future__ import annotations

import re
import tomllib
from functools import cache

import pytest
from conftest import DATA, ROOT, rows
from hypothesis import given
from hypothesis import strategies as st

from bounceml import Classifier, Reply, details, tables, text

FILE = tomllib.loads((ROOT / "bounceml/tables/details.toml").read_text(encoding="utf-8"))
CATEGORIES = tables.taxonomy().categories


def told(reply: str, category: str, lang: str = "en", lasting: bool = False) -> details.Details:
    return details.find(text.normalise(reply), category, lang, lasting)


@pytest.mark.parametrize("block", FILE["detail"], ids=lambda block: f"{block['topic']}: {block['hit'][:30]}")
def test_each_detail_says_what_it_should(block: dict[str, str]) -> None:
    for category in block["category"]:
        found = told(block["hit"], category)
        assert block["says"] in " ".join(found.cause + found.remedy)
        silent = told(block["miss"], category)
        topic = [d for d in tables.details().details if d.topic == block["topic"]]
        assert not any(re.search(d.pattern, text.normalise(block["miss"]), re.IGNORECASE) for d in topic), silent


@pytest.mark.parametrize("detail", tables.details().details, ids=lambda detail: detail.topic)
def test_each_detail_speaks_both_languages(detail: tables.Detail) -> None:
    places = [set(re.findall(r"{(\w+)}", sentence)) for told in (detail.cause, detail.remedy) for sentence in told.values()]
    assert detail.categories <= set(CATEGORIES)
    assert detail.cause or detail.remedy
    assert all(set(told) == {"en", "zh"} for told in (detail.cause, detail.remedy) if told)
    assert set().union(*places) <= set(re.compile(detail.pattern).groupindex)


@pytest.mark.parametrize(
    ("reply", "category", "expected"),
    [
        ("552 message size of 25 MB is over the limit of 20 MB", "message_too_big", "The message has 25 MB; the limit is 20 MB."),
        ("Your message could not be sent because its size (8000 kB) was over the maximum size (5120 kB)", "message_too_big",
         "The message has 8000 KB; the limit is 5120 KB."),
        ("552 size limit: 20563 kilobytes exceed the limit of 10240 kilobytes", "message_too_big",
         "The message has 20563 KB; the limit is 10240 KB."),
        ("552 Message size exceeds fixed maximum. Size: 30720 KB, Max size: 20480 KB", "message_too_big",
         "The message has 30720 KB; the limit is 20480 KB."),
        ("host mx.example.com[198.51.100.7] said: 554 5.7.1 Client host [192.0.2.1] blocked", "ip_reputation",
         "The sending address it means is 192.0.2.1."),
        ("550 5.1.8 Domain of sender address joe@example.org does not resolve", "sender_domain_invalid",
         "The sender's domain it means is example.org."),
    ],
)  # fmt: skip
def test_words_of_other_servers(reply: str, category: str, expected: str) -> None:
    assert expected in told(reply, category).cause


@pytest.mark.parametrize(
    ("reply", "category"),
    [
        ("host mx.example.com[198.51.100.7] said: 554 5.7.1 refused for its reputation", "ip_reputation"),
        ("501 HELO requires domain/address - see RFC-2821 4.1.1.1", "helo_or_rdns"),
        ("550 5.7.233 tenant external recipient rate limit exceeded", "rate_limited"),
        ("552 attachments that end in .pif, .scr or .bat are not taken", "content_rejected"),
        ("550 5.7.26 spf=pass dkim=pass but not aligned", "auth_failure"),
        ("552 5.3.4 error 20481024", "message_too_big"),
    ],
)
def test_what_is_not_told_is_not_said(reply: str, category: str) -> None:
    assert told(reply, category).cause == ()


def test_blocklist_and_its_page() -> None:
    verdict = Classifier.load().classify("554 5.7.1 Client host [192.0.2.1] blocked using bl.spamcop.net")
    assert verdict.blocklist == "bl.spamcop.net"
    assert "https://www.spamcop.net/bl.shtml" in verdict.remedy
    closed = told("554 blocked using dnsbl.sorbs.net", "dnsbl_listed")
    assert closed.remedy == (tables.details().sentences["closed"]["en"],)


@pytest.mark.parametrize(("lasting", "expected"), [(False, ("The server asks to wait 5 minutes.",)), (True, ())])
def test_nobody_waits_for_what_lasts(lasting: bool, expected: tuple[str, ...]) -> None:
    assert told("Greylisted, try again in 5 minutes", "greylisted", lasting=lasting).remedy == expected


def test_provider_code_is_explained() -> None:
    verdict = Classifier.load().classify(Reply("421 HL:ICC mx.example.com"))
    assert "NetEase on HL:ICC: " in verdict.cause


@given(st.text(), st.sampled_from(sorted(CATEGORIES)), st.sampled_from(tables.LANGUAGES), st.booleans())
def test_no_text_defeats_it(reply: str, category: str, lang: str, lasting: bool) -> None:
    found = told(reply, category, lang, lasting)
    assert all(sentence.strip() for sentence in found.cause + found.remedy)


# --- words that a pattern needs ---------------------------------------------------------------------------------


@cache
def replies() -> list[str]:
    return [text.normalise(row["text"]) for path in sorted((DATA / "examples").glob("*.jsonl")) for row in rows(path)]


@pytest.mark.parametrize("pattern", [*tables.details().details, tables.details().wait], ids=lambda pattern: pattern.pattern[:30])
def test_what_a_pattern_hits_has_one_of_its_words(pattern: tables.Detail | tables.Wait) -> None:
    hit = [reply for reply in replies() if re.search(pattern.pattern, reply, re.IGNORECASE)]
    assert hit
    assert not pattern.words or all(any(word in reply.lower() for word in pattern.words) for reply in hit)
