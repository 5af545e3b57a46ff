"""Suggestions are right where one is due, and rare where none is; the figures are printed with ``pytest -s``."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT

from bounceml import Classifier, Reply, decide, suggest, tables
from bounceml.cli import main

CASES = Path(__file__).parent / "cases"
TYPOS = list(csv.DictReader((CASES / "typos.csv").read_text(encoding="utf-8").splitlines()))
VALID = list(csv.DictReader((CASES / "valid_domains.csv").read_text(encoding="utf-8").splitlines()))
ROUTE = decide.MISTYPED - {decide.ADDRESS_SYNTAX}


def test_of_300_typos_95_in_100_are_corrected() -> None:
    chinese = sum(row["providers"] == "zh" for row in TYPOS)
    assert len({row["written"] for row in TYPOS}) == len(TYPOS) >= 300
    assert chinese >= 0.4 * len(TYPOS)
    missed = [(row["written"], row["meant"], found) for row in TYPOS if (found := suggest.address(row["written"])) != row["meant"]]
    wrong = [miss for miss in missed if miss[2]]
    right = 1 - len(missed) / len(TYPOS)
    print(f"\n{right:.1%} of {len(TYPOS)} typos right, {chinese} of Chinese providers; {len(wrong)} wrong; missed: {missed}")
    assert right >= 0.95
    assert not wrong


def test_of_1000_valid_domains_at_most_1_in_100_gets_a_suggestion() -> None:
    assert len({row["domain"] for row in VALID}) == len(VALID) >= 1000
    known = tables.mail_domains()
    assert not [row["domain"] for row in VALID if row["domain"] in known], "a known domain proves nothing"
    false = [(row["domain"], found) for row in VALID if (found := suggest.domain(row["domain"]))]
    kinds = Counter(row["kind"] for row in VALID)
    print(f"\n{len(false) / len(VALID):.1%} of {len(VALID)} valid domains get a suggestion ({dict(kinds)}): {false}")
    assert len(false) <= 0.01 * len(VALID)


def test_a_known_domain_never_gets_a_suggestion() -> None:
    known = tables.mail_domains()
    assert {"mail.com", "gmx.net", "ymail.com", "sina.cn", "email.cz", "aol.co.uk", "live.nl", "yahoo.com.cn"} <= known.keys()
    assert [name for name in known if suggest.address(f"joe@{name}") or suggest.address(f"joe@mx.{name}")] == []


def test_the_table_of_domains_is_whole() -> None:
    for name, row in tables.mail_domains().items():
        assert name == name.lower().strip()
        assert "." in name
        assert row.provider
        assert len(row.country) == 2
        assert row.weight in range(4)
        assert row.source.startswith("http")


@pytest.mark.parametrize(
    "written",
    [
        *("joe@zdl.net", "joe@hot.163.net", "joe@example.com", "joe@localhost", "joe@mail", "joe@orange.ro", "joe@outlook.fr"),
        *("JOE@GMAIL.COM", "joe smith@gmail.com", "joe@gmail.com,amy@qq.com", "@gmail.com", "joe@", "joe", "@", "", "joe@[192.0.2.1]"),
    ],
)
def test_unsure_is_none(written: str) -> None:
    assert suggest.address(written) is None


@pytest.mark.parametrize(
    ("text", "category", "meant"),
    [
        ("Name service error for domain sian.com: Host not found", "host_unknown", "sina.com"),
        ("Name service error for domain hot.163.net: Host not found", "host_unknown", None),
        ("domain zdl.net: Host not found, try again", "host_unknown", None),
        ("<wang@shou.com> : connect to shou.com: Connection refused", "connection_refused", "wang@sohu.com"),
        ("connect to mf2.example.com: Connection refused", "connection_refused", None),
        ("553 5.1.3 <joe＠gmail．com>: bad recipient address syntax", "address_syntax", "joe@gmail.com"),
        ("553 5.1.3 <王@qq。com>: bad recipient address syntax", "address_syntax", "王@qq.com"),
        ("501 5.1.3 <joe@gmail,com>: Bad recipient address syntax", "address_syntax", "joe@gmail.com"),
        ("<****@shou.com> : connect to shou.com: Connection refused", "connection_refused", "sohu.com"),
        ("找不到域名 gmial.con，邮件未能送达joe@gmial.con。请检查是否有拼写错误", "host_unknown", "joe@gmail.com"),
        ("收件人（user@example.com）所属域名不存在，邮件无法送达。 No Mx Record Found", "no_mx", None),
        ('501 5.1.3 "user name@example.com"... Syntax error in mailbox address', "address_syntax", None),
        ("550 5.1.1 <joe@gmial.com>: user unknown", "user_unknown", None),
        ("552 5.2.2 <joe@gmial.com>: mailbox full", "mailbox_full", None),
    ],
)
def test_what_a_reply_is_about(classifier: Classifier, text: str, category: str, meant: str | None) -> None:
    verdict = classifier.classify(text)
    assert (verdict.category, verdict.suggestion) == (category, meant)


def test_the_recipient_goes_before_what_the_text_names() -> None:
    text = "from=<me@gmial.com>: Name service error for name=yaho.com"
    assert suggest.correct(Reply(text, recipient="joe@example.com"), "host_unknown").meant is None
    assert suggest.correct(Reply(text, recipient="joe@hotmial.com"), "host_unknown").meant == "joe@hotmail.com"
    assert suggest.correct(Reply(text), "host_unknown").meant == "yahoo.com"


@pytest.mark.parametrize("recipient", ["<joe@example.org>", "Joe <joe@example.org>", "joe@example.org.", " joe@example.org"])
def test_a_name_or_brackets_are_why_an_address_is_malformed_not_why_its_host_is_unknown(recipient: str) -> None:
    assert suggest.correct(Reply("", recipient=recipient), "host_unknown").meant is None
    mistyped = recipient.replace("example.org", "gmial.com")
    assert suggest.correct(Reply("", recipient=mistyped), "host_unknown").meant == "joe@gmail.com"


@pytest.mark.parametrize(
    "text",
    [
        "501 5.1.7 <me@gmial.com>: Sender address syntax",
        "MAIL FROM: <me@gmial.com> malformed address",
        "malformed sender address me@gmial.com",
        "发件人: me@gmial.com 地址格式不正确",
    ],
)
def test_the_sender_is_not_whom_one_writes_to(text: str) -> None:
    assert suggest.correct(Reply(text), "address_syntax").meant is None


def test_illegal_characters_are_shown_once_each() -> None:
    shown = suggest.correct(Reply("", recipient="王 伟@q q。com。"), "address_syntax").illegal
    assert [(item.text, item.by) for item in shown] == [("王", "address"), (" ", "address"), ("伟", "address"), ("。", "address")]
    assert suggest.correct(Reply("", recipient="王@qq。com"), "host_unknown").illegal == ()


@pytest.mark.parametrize(("lang", "line"), [("en", "  Was wang@sohu.com meant?"), ("zh", "  收件地址是不是应该是 wang@sohu.com？")])
def test_the_question_is_asked_in_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lang: str, line: str) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    reply = "<wang@shou.com> : connect to shou.com: Connection refused"
    assert main(["predict", "--lang", lang, reply]) == 0
    assert line in capsys.readouterr().out.splitlines()
    assert main(["predict", "--lang", lang, reply, "552 5.2.2 mailbox full"]) == 0
    assert line.strip() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reply", "loaded"),
    [
        ("552 5.2.2 <joe@gmial.com>: mailbox full", []),
        ("<joe@example.com>: Host or domain name not found", ["rapidfuzz"]),
        ("<joe@gmial.com>: Host or domain name not found", ["email_validator", "rapidfuzz"]),
    ],
)
def test_libraries_are_imported_where_they_are_needed(reply: str, loaded: list[str]) -> None:
    code = (
        "import sys; from bounceml.cli import main; main(['predict', '--to', 'jsonl', sys.argv[1]]); "
        "print(*({'rapidfuzz', 'email_validator', 'dns'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, reply], capture_output=True, text=True, check=True, cwd=ROOT)
    assert sorted(done.stderr.split()) == loaded


def test_long_nonsense_takes_no_time() -> None:
    for text in ("<" * 4000, "a@" * 2000, "<a@" * 1300, "a." * 2000, "@".join(["x" * 60] * 60), "from " * 800 + "<a@b>" * 100):
        suggest.correct(Reply(text), "host_unknown")
        suggest.correct(Reply("", recipient=text), "address_syntax")
