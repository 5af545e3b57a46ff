"""The review: what is asked, how it is answered in a terminal and in a table, and that no answer is lost."""

from __future__ import annotations

import codecs
import csv
import functools
import gc
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from itertools import groupby, islice, permutations
from pathlib import Path

import pytest
from conftest import DATA, ROOT, rows
from hypothesis import given
from hypothesis import strategies as st

from bounceml import Classifier, anonymous, dialogue, fill, labelled, language, review, stream, tables, text
from bounceml.cli import main
from bounceml.errors import DataError
from bounceml.values import Reply, Score

TODAY = date(2026, 11, 23)
STRANGE = "550 the gnome of {} has eaten this letter"  # nobody says so, and no model knows why
OTHER = "450 a wizard turned the parcel blue"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of three wordings that are in doubt (five, two and one times) and one that is not."""
    path = tmp_path / "mail.txt"
    lines = [STRANGE.format(name) for name in ("aldo", "bert", "carl", "dora", "emil")] + [OTHER] * 2 + ["552 5.2.2 mailbox full"] * 9
    path.write_text("\n".join([*lines, "451 dragons on the bridge, come again"]) + "\n")
    return path


def wordings(classifier: Classifier, *replies: Reply | str, **options: float) -> review.Wordings:
    found = review.Wordings(classifier, **options)  # type: ignore[arg-type]
    for reply in replies:
        found.add(Reply(reply) if isinstance(reply, str) else reply)
    return found


# --- what is asked ----------------------------------------------------------------------------------------------


def test_the_most_frequent_wording_is_first_and_names_make_no_new_one(classifier: Classifier, log: Path) -> None:
    asked = wordings(classifier, *log.read_text().splitlines()).questions()
    assert [(question.times, question.wording) for question in asked] == [
        (5, "550 the gnome of <*> has eaten this letter"),
        (2, "450 a wizard turned the parcel blue"),
        (1, "451 dragons on the bridge, come again"),
    ]
    assert [len(question.guesses) for question in asked] == [3, 3, 3]
    assert asked[0].guesses == tuple(classifier.model.scores(asked[0].template)[:3])


@pytest.mark.parametrize(
    "reply",
    [
        Reply("552 5.2.2 mailbox full"),
        Reply(OTHER, outcome="delivered"),
        Reply(OTHER, error="cannot be read"),
        Reply("550"),
        Reply(""),
    ],
)
def test_what_is_sure_or_no_failure_or_without_words_is_not_asked(classifier: Classifier, reply: Reply) -> None:
    assert wordings(classifier, reply).questions() == []


def test_other_codes_are_another_wording(classifier: Classifier) -> None:
    one, other = "550 5.1.1 the gnome of the old bridge has eaten it", "550 5.7.1 the gnome of the old bridge has eaten it"
    assert len(wordings(classifier, one, one, other, below=1).questions()) == 2


def test_all_is_asked_below_a_probability_of_one(classifier: Classifier) -> None:
    assert len(wordings(classifier, "552 5.2.2 mailbox full", below=1).questions()) == 1


def test_a_wording_that_has_a_label_is_not_asked_again(classifier: Classifier, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    for question in wordings(classifier, STRANGE.format("aldo")).questions():
        labelled.add(mine, question.row("virus", TODAY))
    found = review.Wordings(classifier, labelled.read_file(mine))
    for reply in (STRANGE.format("aldo"), STRANGE.format("zoe"), OTHER):
        found.add(Reply(reply))
    assert [question.wording for question in found.questions()] == [OTHER]
    assert found.known == 2


def test_memory_is_bounded(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "_REMEMBERED", 200)
    unsure = classifier.model.scores(OTHER)
    monkeypatch.setattr(classifier.model, "scores", lambda _: unsure)  # scoring takes its time, and keeps nothing
    found = review.Wordings(Classifier(classifier.model, classifier.thresholds), below=1, limit=50)
    strange = permutations(["gnome", "wizard", "dragon", "castle", "bridge", "letter", "parcel", "riddle"])

    def feed(many: int) -> int:
        for words in islice(strange, many):
            found.add(Reply("550 " + " ".join(words)))
        for kept in gc.get_objects():
            if isinstance(kept, functools._lru_cache_wrapper):  # bounded, and filled by and by
                kept.cache_clear()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = feed(1000)
        after = feed(1000)
    finally:
        tracemalloc.stop()
    assert 0 < len(found.questions()) <= 50
    assert after - before < 500_000


def test_a_long_reply_is_cut(classifier: Classifier) -> None:
    (asked,) = wordings(classifier, OTHER + " and the next one, too" * 5000).questions()
    assert len(asked.example) <= 1100


# --- what is stored ---------------------------------------------------------------------------------------------


def test_the_row_is_one_that_training_reads(classifier: Classifier, tmp_path: Path) -> None:
    reply = Reply("对方的小鬼 ann.lee@corp.cn 吃掉了信 ann.lee", recipient="ann.lee@corp.cn", source="/var/log/mail.log:17", status="5.9.9")
    (asked,) = wordings(classifier, reply, below=1).questions()
    labelled.add(tmp_path / "mine.jsonl", asked.row("virus", TODAY))
    (row,) = rows(tmp_path / "mine.jsonl")
    assert row == {
        "text": "5.9.9 对方的小鬼 joe@example.com 吃掉了信 joe",
        "category": "virus",
        "language": "zh",
        "provider": "own logs",
        "source": "reviewed 2026-11-23, mail.log",
    }
    (example,) = labelled.read_file(tmp_path / "mine.jsonl")
    assert example.measured


def test_a_row_never_joins_a_line_that_was_cut_off(tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    row = {"text": "550 no", "category": "virus", "language": "en", "provider": "p", "source": "s"}
    mine.write_text(json.dumps(row))
    labelled.add(mine, row)
    assert rows(mine) == [row, row]


@pytest.mark.parametrize(
    ("reply", "recipient", "expected"),
    [
        ("552 mailbox joe.smith is full", "joe.smith@corp.cn", "552 mailbox joe is full"),
        ("550 user@corp.cn: no such user", None, "550 joe@example.com: no such user"),
        ("550 contact postmaster", "postmaster@corp.cn", "550 contact postmaster"),
        ("connect to corp.cn[203.0.113.9]:25: refused", "a@corp.cn", "connect to example.com[192.0.2.1]:25: refused"),
        ("from <a@one.cn> to <b@two.cn> by mx.two.cn", "b@two.cn", "from <joe@example.org> to <joe@example.com> by mx.example.net"),
        ("554 listed at zen.spamhaus.org", None, "554 listed at zen.spamhaus.org"),
        ("see https://help.corp.cn/bounce/spf?user=ann", None, "see https://www.example.com/bounce/spf/user/ann"),
        ("as 4f2ab8c9d1e2 from 2001:4860:4860::8888", None, "as 4VTx1k0ABCz7 from 2001:db8::1"),
        ("call 13800138000", None, "call 1000001"),
        ("address [ann@corp.cn] of <ann@[192.0.2.9]>", None, "address [joe@example.com] of <joe@example.org>"),
    ],
)
def test_what_names_somebody_is_replaced(reply: str, recipient: str | None, expected: str) -> None:
    assert anonymous.reply(reply, recipient) == expected


def test_a_reply_without_names_has_the_same_template() -> None:
    examples = [example for path in sorted((DATA / "examples").glob("debian_*.jsonl")) for example in labelled.read_file(path)]
    given = [(e.place, text.judged(e.text)) for e in examples]
    changed = [place for place, told in given if text.read(Reply(anonymous.reply(told))).template != text.read(Reply(told)).template]
    assert len(examples) > 900
    assert len(changed) < len(examples) / 500  # a user's name is no mark, and is replaced


@given(st.text(max_size=60), st.emails())
def test_no_address_is_left(words: str, address: str) -> None:
    told = anonymous.reply(text.normalise(f"{words} <{address}> {address}"), address)
    assert not re.search(r"[\w.+-]@(?!example\.(?:com|org))[\w-]+\.[a-z]{2,}", told)


def test_language_of_most_rows() -> None:
    examples = [example for path in sorted((DATA / "examples").glob("facts_*.jsonl")) for example in labelled.read_file(path)]
    right = sum(language.of(example.template) == example.language for example in examples)
    assert right / len(examples) > 0.9


# --- what is answered -------------------------------------------------------------------------------------------

GUESSES = (Score("virus", 0.5), Score("greylisted", 0.3), Score("no_mx", 0.1))


@pytest.mark.parametrize(
    ("answer", "category"),
    [("2", "greylisted"), (" NO_MX ", "no_mx"), ("mailbox_f", "mailbox_full"), ("vir", "virus")],
)
def test_an_answer_is_a_number_an_id_or_its_beginning(answer: str, category: str) -> None:
    assert review.category_of(answer, GUESSES) == category


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("4", "'4' is no guess; there are 3"),
        ("0", "'0' is no guess; there are 3"),
        ("mailbox", "'mailbox' may be mailbox_disabled, mailbox_full; type more of it"),
        ("malibox_full", "'malibox_full' is not a category; the nearest is 'mailbox_full', and `bounceml taxonomy` lists the 35 there are"),
    ],
)
def test_another_answer_says_what_is_meant(answer: str, why: str) -> None:
    with pytest.raises(DataError, match=re.escape(why)):
        review.category_of(answer, GUESSES)


@given(st.text(max_size=12))
def test_any_answer_is_a_category_or_an_error(answer: str) -> None:
    with suppress(DataError):
        assert review.category_of(answer, GUESSES) in tables.taxonomy().categories


def test_a_hostile_reply_does_not_move_the_cursor() -> None:
    out = io.StringIO()
    question = review.Question(1, "x\x9b2J", "y\u202ez", GUESSES, "f\x1b[2J")
    assert list(dialogue.answers([question], lambda _: "q", out, "en")) == []
    assert out.getvalue().replace("\n", "").isprintable()


# --- in a terminal ----------------------------------------------------------------------------------------------


class Terminal:
    """The command line on a pseudo-terminal."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-m", "bounceml", *arguments]
        environment = {**os.environ, "TERM": "dumb", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, env=environment, start_new_session=True)
        os.close(slave)
        self.shown = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def until(self, words: str, seconds: float = 30) -> str:
        """Read up to these words, and return what came before them since the last call."""
        end = time.monotonic() + seconds
        while words not in self.shown:
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
            try:
                part = os.read(self._master, 65536) if ready else b""
            except OSError:  # the other end is closed
                part = b""
            assert part, f"{words!r} did not come: {self.shown!r}"
            self.shown += self._decoder.decode(part)
        before, _, self.shown = self.shown.partition(words)
        return before

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal(log: Path, tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal("review", str(log), "--add-to", str(tmp_path / "mine.jsonl"))
    yield opened
    opened.close()


PROMPT = "? list): "


def test_dialogue(terminal: Terminal, tmp_path: Path) -> None:
    first = terminal.until(PROMPT)
    assert "1 of 3 · 5 replies · mail.txt" in first
    assert "wording: 550 the gnome of <*> has eaten this letter" in first
    assert "example: 550 the gnome of aldo has eaten this letter" in first
    assert re.search(r"\n  1 +\d+%  \w+ +\w.*\n  2 +\d+%  \w+ +\w.*\n  3 +\d+%  \w+ +\w", first.replace("\r", ""))
    terminal.type("?\n")
    listed = terminal.until(PROMPT)
    assert all(category in listed for category in tables.taxonomy().categories)
    terminal.type("sys\n")
    assert "'sys' may be system_busy, system_error; type more of it" in terminal.until(PROMPT)
    terminal.type("greyl\n")
    second = terminal.until(PROMPT)
    assert "2 of 3 · 2 replies" in second
    assert [row["category"] for row in rows(tmp_path / "mine.jsonl")] == ["greylisted"]  # before the second is answered
    terminal.type("s\n")
    assert "3 of 3 · 1 reply" in terminal.until(PROMPT)
    terminal.type("3\n")
    terminal.until("2 of 3 wordings labelled")
    assert terminal.process.wait(10) == 0
    assert len(rows(tmp_path / "mine.jsonl")) == 2


def test_tab_completes_an_id(terminal: Terminal, tmp_path: Path) -> None:
    pytest.importorskip("readline")
    terminal.until(PROMPT)
    terminal.type("network\t\n")
    terminal.until(PROMPT)
    assert rows(tmp_path / "mine.jsonl")[0]["category"] == "network_timeout"


@pytest.mark.parametrize("end", ["q\n", "\x04"])
def test_who_quits_keeps_what_was_answered(terminal: Terminal, tmp_path: Path, end: str) -> None:
    terminal.until(PROMPT)
    terminal.type("1\n")
    terminal.until(PROMPT)
    terminal.type(end)
    terminal.until("1 of 3 wordings labelled")
    assert terminal.process.wait(10) == 0
    assert len(rows(tmp_path / "mine.jsonl")) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_who_is_killed_goes_on_where_the_answers_end(terminal: Terminal, log: Path, tmp_path: Path, how: signal.Signals) -> None:
    terminal.until(PROMPT)
    terminal.type("1\n")
    terminal.until(PROMPT)
    terminal.type("2")
    terminal.process.send_signal(how)
    terminal.process.wait(10)
    assert len(rows(tmp_path / "mine.jsonl")) == 1
    again = Terminal("review", str(log), "--add-to", str(tmp_path / "mine.jsonl"))
    try:
        assert "1 of 2 · 2 replies" in again.until(PROMPT)
    finally:
        again.close()


def test_chinese_dialogue(log: Path, tmp_path: Path) -> None:
    terminal = Terminal("review", str(log), "--lang", "zh", "--add-to", str(tmp_path / "mine.jsonl"))
    try:
        assert "第 1 条，共 3 条 · 出现 5 次 · mail.txt" in terminal.until("列出类别）：")
    finally:
        terminal.close()


# --- as a table -------------------------------------------------------------------------------------------------


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def fill_in(path: Path, *categories: str, delimiter: str = ",", encoding: str = "utf-8") -> None:
    filled = [row | {"category": category} for row, category in zip(table(path), categories, strict=True)]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, fill.COLUMNS, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(filled)
    path.write_bytes(out.getvalue().encode(encoding))


@pytest.fixture
def sheet(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "fill.csv"
    assert main(["review", str(log), "--add-to", str(tmp_path / "mine.jsonl"), "--to", "csv", "-o", str(path)]) == 0
    assert "3 wordings" in capsys.readouterr().out
    return path


def take(sheet: Path) -> int:
    return main(["review", "--from", str(sheet), "--add-to", str(sheet.parent / "mine.jsonl")])


def test_table_to_fill_in(sheet: Path) -> None:
    first = table(sheet)[0]
    assert tuple(first) == ("count", "template", "example", "guess1", "guess2", "guess3", "category", "source")
    assert (first["count"], first["template"], first["category"], first["source"]) == (
        "5",
        "550 the gnome of <*> has eaten this letter",
        "",
        "mail.txt",
    )
    assert re.fullmatch(r"\w+ \d+%", first["guess1"])


@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "gb18030")])
def test_a_filled_table_is_taken_over_once(sheet: Path, capsys: pytest.CaptureFixture[str], delimiter: str, encoding: str) -> None:
    fill_in(sheet, "2", "", "virus", delimiter=delimiter, encoding=encoding)
    assert take(sheet) == 0
    assert capsys.readouterr().out.startswith("2 wordings labelled")
    found = rows(sheet.parent / "mine.jsonl")
    assert [row["text"] for row in found] == ["550 the gnome of aldo has eaten this letter", "451 dragons on the bridge, come again"]
    assert found[1]["category"] == "virus"
    assert found[0]["source"] == f"reviewed {date.today().isoformat()}, mail.txt"
    assert take(sheet) == 0
    assert capsys.readouterr().out.endswith("; 2 were there already\n")
    assert len(rows(sheet.parent / "mine.jsonl")) == 2


def test_all_wrong_rows_are_told_and_none_is_taken(sheet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill_in(sheet, "virus", "grey_listed", "mailbox")
    assert take(sheet) == 2
    told = capsys.readouterr().err
    assert f"{sheet}: row 3: 'grey_listed' is not a category; the nearest is 'greylisted'" in told
    assert f"{sheet}: row 4: 'mailbox' may be mailbox_disabled, mailbox_full" in told
    assert not (sheet.parent / "mine.jsonl").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it has no column 'example'"),
        (b"text,category\r\n550 no,virus\r\n", "it has no column 'example'"),
        (b'example,category,source\r\n"550 no,virus,x\r\n', "broken"),
        (b"example,category,source\r\n,virus,x\r\n", "row 2: 'example' is empty"),
    ],
)
def test_another_table_is_refused(tmp_path: Path, content: bytes, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fill.csv").write_bytes(content)
    assert take(tmp_path / "fill.csv") == 2
    assert why in capsys.readouterr().err


def test_a_filled_table_is_not_overwritten(sheet: Path, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["review", str(log), "--to", "csv", "-o", str(sheet)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_formula_stays_a_text(tmp_path: Path) -> None:
    out = io.StringIO(newline="")
    fill.write([review.Question(1, "=cmd()", '=cmd() "x", y', GUESSES, "a.log")], out)
    assert ",\"'=cmd()" in out.getvalue()
    path = tmp_path / "fill.csv"
    path.write_text(out.getvalue(), newline="")
    fill_in(path, "virus")
    assert [(asked.example, category) for asked, category in fill.answers(path)] == [('=cmd() "x", y', "virus")]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["x.log"], "a review asks in a terminal; without one, write a table to fill in: --to csv -o fill.csv"),
        (["x.log", "-o", "fill.csv"], "-o is for a table to fill in; add --to csv"),
        (["x.log", "--from", "fill.csv"], "--from takes the answers of a table"),
        (["--from", "nowhere.csv"], "nowhere.csv: cannot be read"),
    ],
)
def test_wrong_usage_says_what_to_do(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["review", *arguments]) == 2
    assert why in capsys.readouterr().err


def test_an_input_that_cannot_be_read_is_told(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{no json\n")
    assert main(["review", str(broken), str(log), "--add-to", str(tmp_path / "mine.jsonl"), "--to", "csv"]) == 3
    told = capsys.readouterr()
    assert f"{broken}:1" in told.err
    assert told.out.count("\n") == 4


def test_the_readme_shows_what_comes_out(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    lines = [line for line, _ in groupby(row["text"] for row in rows(ROOT / "tests/lab/replies.jsonl") if row["form"] == "log")]
    Path("mail.log").write_text("\n".join(lines) + "\n")
    assert main(["report", "mail.log", "-o", "report.html"]) == 0
    told = capsys.readouterr()
    assert f"$ bounceml report mail.log -o report.html\n{told.err}{told.out}" in readme
    assert main(["review", "mail.log", "--to", "csv", "-o", "fill.csv"]) == 0
    assert f"$ bounceml review mail.log --to csv -o fill.csv\n{capsys.readouterr().out}" in readme
    out = io.StringIO()
    found = review.Wordings(Classifier.load())
    for reply in stream.replies(["mail.log"]):
        found.add(reply)
    assert list(dialogue.answers(found.questions(), lambda _: "q", out, "en")) == []
    assert out.getvalue() in readme
    fill_in(Path("fill.csv"), "mailing_lists", *[""] * (len(found.questions()) - 1))
    assert main(["review", "--from", "fill.csv", "--add-to", "mine.jsonl"]) == 2
    assert capsys.readouterr().err in readme


def test_the_package_that_is_missing_is_named(log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "drain3.drain", None)
    assert main(["review", str(log), "--to", "csv"]) == 2
    assert "pip install 'bounceml[review]'" in capsys.readouterr().err
