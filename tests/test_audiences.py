"""Whoever asks, sender, admin or recipient, gets a cause and a remedy of their own for every category in both languages."""

from __future__ import annotations

import csv
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from bounceml import Classifier, cli, tables
from bounceml.cli import main
from bounceml.errors import DataError, UsageError
from bounceml.tables import compiled
from bounceml.values import Reply

CATEGORIES = list(tables.taxonomy().categories)
OTHERS = [audience for audience in tables.AUDIENCES if audience != "sender"]
KINDS = ("cause", "remedy")
MOST = {"cause": 2, "remedy": 3}  # sentences
ENDS = {"en": r"[.!?](?= [A-Z]|$)", "zh": r"[。！？]"}
HAN = re.compile(r"[\u4e00-\u9fff]")
LATIN_SENTENCE = re.compile(r"[A-Za-z']{2,}(?: [A-Za-z']{2,}){2,}(?![\w.])")  # "MAIL FROM" and "dig MX example.com" are none
# What a lay reader cannot be expected to know; a record is named only where they are told to ask for it.
JARGON = re.compile(r"\b(?:RFC|RCPT|EHLO|HELO|STARTTLS|MTA|NXDOMAIN|SERVFAIL|PTR|DATA|[45X]\.\d\.\d+|[45]yz|queue ID|IPv6)\b|投递队列")


def text(category: str, lang: str, audience: str, kind: str) -> str:
    known = tables.taxonomy().categories if audience == "sender" else tables.audience_texts()[audience]
    return str(getattr(known[category], kind)[lang])


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("audience", tables.AUDIENCES)
@pytest.mark.parametrize("lang", tables.LANGUAGES)
def test_every_reader_is_told_cause_and_remedy(category: str, lang: str, audience: str) -> None:
    for kind in KINDS:
        found = text(category, lang, audience, kind)
        assert found == found.strip()
        assert found.endswith("." if lang == "en" else "。")
        assert not re.search(r"[{}<>\[\]]|TODO|XXX|…|\s\s|\n", found.replace("MAIL FROM:<>", ""))
        assert bool(HAN.search(found)) == (lang == "zh")
        if lang == "zh":
            assert not LATIN_SENTENCE.search(found)
            assert not re.search(r"[\u4e00-\u9fff][,;:!?]|[,;:!?][\u4e00-\u9fff]", found), "half-width punctuation"
            assert not re.search(r"[\u4e00-\u9fff][A-Za-z0-9@]|[A-Za-z0-9@][\u4e00-\u9fff]", found), "no blank between scripts"
        if audience != "sender":
            assert 1 <= len(re.findall(ENDS[lang], found)) <= MOST[kind]


def test_no_text_is_told_twice() -> None:
    asked = list(itertools.product(CATEGORIES, tables.LANGUAGES, tables.AUDIENCES, KINDS))
    assert len({text(*which) for which in asked}) == len(asked) == len(CATEGORIES) * 2 * 3 * 2


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_admin_is_told_what_to_look_at_first(category: str) -> None:
    assert re.search(r"\b[Ff]irst\b", text(category, "en", "admin", "remedy"))
    assert re.search("先|首先|Content-Type", text(category, "zh", "admin", "remedy"))


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("lang", tables.LANGUAGES)
def test_the_recipient_is_spoken_to_in_plain_words(category: str, lang: str) -> None:
    for kind in KINDS:
        assert not JARGON.search(text(category, lang, "recipient", kind))
    together = " ".join(text(category, lang, "recipient", kind) for kind in KINDS)
    assert re.search(r"\byour?\b", together, re.IGNORECASE) if lang == "en" else "您" in together


def test_the_file_names_nothing_else() -> None:
    blocks = compiled.read("audiences")
    assert list(blocks) == CATEGORIES, "in the order of the taxonomy"
    assert all(list(block) == OTHERS for block in blocks.values())
    assert all(set(texts) == set(KINDS) for block in blocks.values() for texts in block.values())
    assert all(set(both) == set(tables.LANGUAGES) for block in blocks.values() for texts in block.values() for both in texts.values())


@pytest.mark.parametrize(
    ("blocks", "missing"),
    [
        ({}, r"audiences.toml, user_unknown.admin.cause: write the text in 'en'"),
        ({"user_unknown": {"admin": {"cause": {"en": "a.", "zh": "甲。"}, "remedy": {"en": "b."}}}}, r"user_unknown.admin.remedy: .* 'zh'"),
    ],
)
def test_a_missing_text_is_named(blocks: dict[str, object], missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.taxonomy()
    monkeypatch.setattr(compiled, "read", lambda _: blocks)
    with pytest.raises(DataError, match=missing):
        tables.audience_texts.__wrapped__()


@pytest.mark.parametrize("audience", OTHERS)
@pytest.mark.parametrize("lang", tables.LANGUAGES)
def test_a_documented_row_speaks_to_the_sender_only(lang: str, audience: str) -> None:
    reply = "452 4.2.2 mailbox full"
    theirs = Classifier.load(lang=lang, audience=audience).classify(reply)
    ours = Classifier.load(lang=lang).classify(reply)
    assert theirs.documented == ours.documented == "S02"
    assert ours.cause == tables.taxonomy().documented["S02"].cause[lang]
    assert (theirs.cause, theirs.remedy) == tuple(text("mailbox_full", lang, audience, kind) for kind in KINDS)
    assert theirs._replace(cause=ours.cause, remedy=ours.remedy) == ours


def test_what_could_not_be_read_has_words_for_its_reader() -> None:
    verdict = Classifier.load(audience="admin").classify(Reply("", error="x: cannot be read"))
    assert (verdict.cause, verdict.error) == (text("unknown", "en", "admin", "cause"), "x: cannot be read")


def test_unknown_audience_names_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"^no texts for audience 'boss'; choose one of sender, admin, recipient$"):
        Classifier.load(audience="boss")


def test_command_line_offers_the_audiences_of_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.AUDIENCES == cli._AUDIENCES
    with pytest.raises(SystemExit) as stopped:
        main(["predict", "--audience", "boss", "550 5.1.1 user unknown"])
    assert stopped.value.code == 2
    assert "argument --audience: invalid choice: 'boss'" in capsys.readouterr().err


@pytest.mark.parametrize("audience", OTHERS)
@pytest.mark.parametrize(("lang", "label"), [("en", "What to do"), ("zh", "解决办法")])
def test_option_in_text(lang: str, label: str, audience: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--lang", lang, "--audience", audience, "452 4.2.2 mailbox full"]) == 0
    assert f"  {label}: {text('mailbox_full', lang, audience, 'remedy')}\n" in capsys.readouterr().out


@pytest.mark.parametrize("to", ["csv", "jsonl"])
def test_option_in_every_format(to: str, tmp_path: Path) -> None:
    out = tmp_path / f"out.{to}"
    assert main(["predict", "--audience", "recipient", "--to", to, "-o", str(out), "452 4.2.2 mailbox full"]) == 0
    row = json.loads(out.read_text()) if to == "jsonl" else next(csv.DictReader(out.read_text().splitlines()))
    assert row["cause"] == text("mailbox_full", "en", "recipient", "cause")
    assert "audience" not in row


@pytest.mark.parametrize(("audience", "reads"), [("sender", False), ("admin", True), ("recipient", True)])
def test_the_texts_are_read_only_for_whom_they_are(audience: str, reads: bool) -> None:
    watch = (
        "import sys; opened = []; sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None);"
        "from bounceml.cli import main; main(['predict', '--audience', sys.argv[1], '550 5.1.1 user unknown']);"
        "print(any(name.endswith('taxonomy.json') for name in opened), any(name.endswith('audiences.json') for name in opened))"
    )
    done = subprocess.run([sys.executable, "-c", watch, audience], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"True {reads}"
