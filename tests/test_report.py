"""The report: what is counted, what is bounded, and that a hostile mail stays text on the page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from bounceml import Classifier, tables
from bounceml.cli import main
from bounceml.report import chart, figures, page, table
from bounceml.report.aggregate import TABLES, Figures, kind
from bounceml.report.times import Timeline
from bounceml.values import Reply

FULL = "552 5.2.2 <joe@example.com>: mailbox full"
GONE = "550 5.1.1 <amy@example.net>: no such user"
LISTED = "554 5.7.1 Service unavailable; client [192.0.2.1] blocked using zen.spamhaus.org"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


def summary(classifier: Classifier, replies: Iterable[Reply], **options: Any) -> dict[str, Any]:
    return figures(replies, classifier).summary(**options)


def rendered(found: dict[str, Any], lang: str = "en", earlier: dict[str, Any] | None = None) -> str:
    return page.render(found, lang, earlier, "report.csv", "report.json")


# --- what is counted --------------------------------------------------------------------------------------------


def test_every_reply_is_counted_once(classifier: Classifier) -> None:
    found = summary(
        classifier,
        [
            Reply(FULL, recipient="joe@example.com", outcome="delayed", time="2026-11-03T10:00:00", host="mx.example.com"),
            Reply(FULL, recipient="joe@example.com", outcome="delayed", time="2026-11-04T11:00:00", host="mx.example.com"),
            Reply(GONE, recipient="amy@EXAMPLE.net", outcome="failed", time="2026-11-05T09:00:00"),
            Reply(LISTED, recipient="bob@example.com", outcome="failed"),
            Reply("250 2.0.0 Ok", recipient="eve@example.com", outcome="delivered"),
            Reply("I am away", outcome="not_a_bounce"),
            Reply("", error="x.eml: cannot be read"),
        ],
    )
    totals = found["totals"]
    assert {
        name: totals[name]
        for name in ("read", "failed", "hard", "soft", "block", "delivered", "no_bounce", "unread", "undated", "suppress")
    } == {
        "read": 6,
        "failed": 4,
        "hard": 1,
        "soft": 2,
        "block": 1,
        "delivered": 1,
        "no_bounce": 1,
        "unread": 1,
        "undated": 1,
        "suppress": 1,
    }
    assert totals["failed"] == sum(row["count"] for row in found["causes"]["rows"])
    assert [(row["name"], row["count"]) for row in found["domains"]["rows"]] == [("example.com", 3), ("example.net", 1)]
    assert [(row["name"], row["count"]) for row in found["hosts"]["rows"]] == [("mx.example.com", 2)]
    assert [row["name"] for row in found["blocklists"]["rows"]] == ["zen.spamhaus.org"]
    assert (found["first_seen"], found["last_seen"]) == ("2026-11-03T10:00:00", "2026-11-05T09:00:00")
    full = found["causes"]["rows"][0]
    assert (full["name"], full["count"], full["soft"], full["action"], full["last_seen"]) == (
        "mailbox_full",
        2,
        2,
        "retry",
        "2026-11-04T11:00:00",
    )
    assert found["errors"] == ["x.eml: cannot be read"]


def test_the_same_wording_is_one_template_whoever_it_is_about(classifier: Classifier) -> None:
    replies = [
        Reply(f"550 5.1.1 mailbox {user} is not known here", recipient=f"{user}@example.com") for user in ("joesmith", "Amy_Li", "o'hara")
    ]
    rows = summary(classifier, replies)["templates"]["rows"]
    assert [(row["name"], row["count"]) for row in rows] == [("550 5.1.1 mailbox <user> is not known here", 3)]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (FULL, "soft"),
        (GONE, "hard"),
        (LISTED, "block"),
        ("450 4.7.1 Client host rejected: cannot find your hostname, [192.0.2.1]", "soft"),
        ("failed for unspecified reasons", "unknown"),
    ],
)
def test_hard_soft_block_unknown(classifier: Classifier, reply: str, expected: str) -> None:
    assert kind(classifier.classify(reply)) == expected


def test_only_repeated_soft_failures_are_told_by_recipient(classifier: Classifier) -> None:
    replies = [Reply(FULL, recipient="joe.smith@example.com")] * 3 + [
        Reply(FULL, recipient="amy@example.com"),
        Reply(GONE, recipient="bob@example.com"),
    ]
    assert [(row["name"], row["count"]) for row in summary(classifier, replies)["recipients"]["rows"]] == [("j…@example.com", 3)]
    shown = summary(classifier, replies, addresses=True)["recipients"]["rows"]
    assert shown[0]["name"] == "joe.smith@example.com"


def test_no_address_is_on_the_page_unasked(classifier: Classifier) -> None:
    replies = [
        Reply(f"552 5.2.2 <{user}@example.com>: {user} is over quota", recipient=f"{user}@example.com")
        for user in ("joesmith", "amyli") * 2
    ]
    found = summary(classifier, replies)
    for written in (json.dumps(found), rendered(found), table.render(found)):
        assert "joesmith" not in written
        assert "amyli" not in written


def test_new_wordings_since_the_last_report(classifier: Classifier) -> None:
    before = summary(classifier, [Reply(FULL, time="2026-11-01T10:00:00")])
    after = summary(classifier, [Reply(FULL), Reply(GONE)], earlier=set(before["wordings"]))
    assert {row["name"]: row["new"] for row in after["templates"]["rows"]} == {
        "552 5.2.2 <addr>: mailbox full": False,
        "550 5.1.1 <addr>: no such user": True,
    }
    written = rendered(after, earlier=before)
    assert "New since the last report" in written
    assert "up to 2026-11-01 10:00" in written
    assert "New since the last report" not in rendered(before)


# --- time -------------------------------------------------------------------------------------------------------


def test_a_timeline_counts_hours_until_days_fit_better() -> None:
    line = Timeline()
    for time in ("2026-11-03T10:59:59", "2026-11-03T10:00:00", "2026-11-03T13:00:00"):
        line.add(time, "soft")
    assert [(time, counts["soft"]) for time, counts in line.bars()] == [
        ("2026-11-03T10", 2),
        ("2026-11-03T11", 0),
        ("2026-11-03T12", 0),
        ("2026-11-03T13", 1),
    ]
    line.add("2026-11-30T00:00:00", "hard")
    bars = dict(line.bars())
    assert line.unit == "day"
    assert (len(bars), bars["2026-11-03"]["soft"], bars["2026-11-30"]["hard"]) == (28, 3, 1)
    line.add("1990-01-01T00:00:00", "hard")
    line.add("2099-12-31T00:00:00", "hard")
    assert (line.unit, len(list(line.bars())), sum(sum(counts.values()) for _, counts in line.bars())) == ("year", 110, 6)


def test_a_week_of_hours_is_drawn_to_its_end() -> None:
    line = Timeline()
    for number in range(168):
        line.add(f"2026-11-{3 + number // 24:02}T{number % 24:02}:30:00", "soft")
    rows = [{"time": time, "hard": 0, "block": 0, "unknown": 0, "soft": counts["soft"]} for time, counts in line.bars()]
    drawing = chart.timeline(rows)
    assert drawing
    assert (line.unit, len(drawing.slots)) == ("hour", 168)
    assert [slot.label for slot in drawing.slots if slot.label] == [f"11-0{day} 00:00" for day in range(3, 10)]
    assert all(slot.bars[0].x + slot.bars[0].width <= drawing.width for slot in drawing.slots)
    assert all(bar.y >= 0 and bar.y + bar.height <= drawing.floor + 0.1 for slot in drawing.slots for bar in slot.bars)


def test_logs_mails_events_and_tables_tell_when_and_by_whom(tmp_path: Path) -> None:
    from bounceml import stream

    rows = tmp_path / "rows.csv"
    rows.write_text("reply,recipient,timestamp\n550 no such user,joe@example.com,2026-11-03T10:00:00Z\n")
    hook = tmp_path / "hook.json"
    hook.write_text(
        json.dumps([{"event": "bounce", "email": "amy@example.com", "reason": "552 full", "sg_event_id": "x", "timestamp": 1793700000}])
    )
    given = {path: [(reply.time, reply.host) for reply in stream.replies([str(path)])] for path in (rows, hook)}
    assert given == {rows: [("2026-11-03T10:00:00Z", None)], hook: [("2026-11-03T10:00:00Z", None)]}
    logged = [(reply.time, reply.host) for reply in stream.replies([str(ROOT / "tests/logs/postfix.log")])]
    assert logged[0] == ("2024-05-01T06:00:02Z", "mx.example.net")
    mails = list(stream.replies([str(ROOT / "tests/lab/mails/exim-adam.eml")]))
    assert all(reply.time for reply in mails)


# --- bounds -----------------------------------------------------------------------------------------------------


def test_memory_is_bounded_and_the_page_says_so(classifier: Classifier) -> None:
    found = Figures(limit=50)
    verdict = classifier.classify(FULL)
    for number in range(1000):
        for user in ("joe", f"u{number}"):
            address = f"{user}@{'often' if user == 'joe' else user}.example"
            found.add(Reply(FULL, recipient=address), verdict._replace(recipient=address), f"wording-{user}")
    assert all(len(bounded._tallies) <= 50 for bounded in found._tables.values())
    given = found.summary()
    for name in ("domains", "templates"):
        rows = given[name]["rows"]
        assert rows[0]["count"] == 1000
        assert sum(row["count"] for row in rows) + given[name]["others"] == 2000
        assert given[name]["limit"] == 50
    assert given["causes"]["limit"] is None
    assert "More than 50 different ones" in rendered(given)


def test_long_names_are_cut(classifier: Classifier) -> None:
    given = summary(classifier, [Reply("550 " + "word " * 3000, recipient="joe@" + "x" * 10_000 + ".example")])
    assert all(len(row["name"]) <= 400 for name in TABLES for row in given[name]["rows"])


# --- the page ---------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """The elements and texts of a page."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.feed(written)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "input", "line", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]


HOSTILE = (
    "550 <script>alert(1)</script> no such user",
    '550 "><img src=x onerror=alert(1)> no such user',
    "550 no such user' onmouseover='alert(1)",
    "550 no such user </style><style>body{display:none}</style>",
    "550 no such user </title></script><svg onload=alert(1)>",
    "550 no such user \u202egnp.exe\u2066 \u061c\u200e",
    "550 no such user {{ 7 * 7 }} {% include 'report.css' %}",
    "550 no such user \x00\x1b[31m \ud800",
)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_hostile_replies_stay_text(classifier: Classifier, lang: str) -> None:
    # The same words stand where a domain, a host, a blocklist and an error stand.
    replies = [Reply(words, recipient=f"joe@{words}", host=words, time="2026-11-03T00:00:00") for words in HOSTILE for _ in range(2)]
    replies += [Reply("", error=words) for words in HOSTILE]
    given = figures(replies, classifier).summary(addresses=True, earlier=set())
    written = rendered(given, lang, given)
    seen = _Page(written)
    assert not seen.open
    calm = _Page(rendered(summary(classifier, [Reply(FULL)] * 2), lang))
    assert set(seen.tags) - set(calm.tags) <= {"svg", "g", "title", "line", "rect", "text", "ul", "li", "span", "bdi", "tfoot", "div"}
    assert seen.tags.count("script") == seen.tags.count("style") == 1
    assert not [name for _, name, _ in seen.attributes if name.startswith("on")]
    for control in "\u202e\u2066\u061c\u200e\x00\x1b\ud800":
        assert control not in written
    assert "49" not in [row["name"] for row in given["templates"]["rows"]]
    written.encode()


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_asks_nobody_for_anything(classifier: Classifier, lang: str) -> None:
    seen = _Page(rendered(summary(classifier, [Reply(LISTED, time="2026-11-03T00:00:00")]), lang))
    assert not [
        value for tag, name, value in seen.attributes if name in ("src", "srcset", "action", "data") or (name == "href" and tag != "a")
    ]
    policy = next(value for tag, name, value in seen.attributes if tag == "meta" and "default-src" in value)
    assert policy.startswith("default-src 'none';")
    assert "link" not in seen.tags


def test_headings_captions_and_scopes(classifier: Classifier) -> None:
    seen = _Page(
        rendered(summary(classifier, [Reply(FULL, recipient="a@example.com", host="mx.example.com", time="2026-11-03T00:00:00")] * 2))
    )
    assert seen.tags.count("h1") == 1
    assert seen.tags.count("caption") == seen.tags.count("table") >= 6
    scopes = [tag for tag, name, _ in seen.attributes if name == "scope"]
    assert len(scopes) == seen.tags.count("th")
    assert ("html", "lang", "en") in seen.attributes


def test_both_languages_have_the_same_words() -> None:
    def shape(words: dict[str, Any]) -> dict[str, Any]:
        return {
            name: shape(value) if isinstance(value, dict) else sorted(set(value.split("{")[1:])) and value.count("{")
            for name, value in words.items()
        }

    words = page.texts()
    assert set(words) == set(tables.LANGUAGES)
    assert shape(words["en"]) == shape(words["zh"])
    assert set(words["en"]["action"]) == set(tables.ACTIONS)
    assert set(words["en"]["actor"]) == set(tables.ACTORS)


def test_a_chinese_page_is_chinese(classifier: Classifier) -> None:
    written = rendered(summary(classifier, [Reply(FULL, recipient="joe@example.com", time="2026-11-03T00:00:00")]), "zh")
    remedy = tables.audience_texts()["admin"]["mailbox_full"].remedy["zh"]
    for words in ("退信分析报告", remedy, "软退信", "稍后重试", 'lang="zh-CN"'):
        assert words in written
    assert "Mailbox" not in written


def test_equal_inputs_make_equal_reports(classifier: Classifier) -> None:
    replies = [
        Reply(words, recipient=f"joe@{number % 3}.example", time="2026-11-03T00:00:00")
        for number, words in enumerate((FULL, GONE, LISTED) * 4)
    ]
    first, second = summary(classifier, replies), summary(classifier, replies)
    assert json.dumps(first) == json.dumps(second)
    assert rendered(first) == rendered(second)


def test_nothing_failed(classifier: Classifier) -> None:
    assert "Nothing failed in this input." in rendered(summary(classifier, []))


# --- the table --------------------------------------------------------------------------------------------------


def test_a_spreadsheet_computes_nothing(classifier: Classifier) -> None:
    found = summary(classifier, [Reply('=HYPERLINK("http://example.com")', recipient="a@=cmd|x.example"), Reply("+1 no such user")])
    rows = list(csv.DictReader(io.StringIO(table.render(found))))
    assert {row["table"] for row in rows} >= {"causes", "domains", "templates"}
    assert not [row for row in rows if row["name"].startswith(("=", "+", "-", "@"))]


def test_the_table_has_the_timeline(classifier: Classifier) -> None:
    found = summary(classifier, [Reply(FULL, time="2026-11-03T10:20:00"), Reply(GONE, time="2026-11-03T10:40:00")])
    rows = [row for row in csv.DictReader(io.StringIO(table.render(found))) if row["table"] == "timeline"]
    assert [(row["name"], row["count"], row["soft"], row["hard"]) for row in rows] == [("2026-11-03T10", "2", "1", "1")]


# --- the command ------------------------------------------------------------------------------------------------

LOG = "".join(
    f"Nov  {day} 10:00:0{day} mx postfix/smtp[7]: 4F2A91C{day}: to=<joe@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1, "
    "dsn=4.2.2, status=deferred (host mx.example.com[192.0.2.1] said: 452 4.2.2 Mailbox full (in reply to RCPT TO command))\n"
    for day in (1, 2, 3)
)


def test_from_a_log_to_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, out = tmp_path / "mail.log", tmp_path / "report.html"
    log.write_text(LOG)
    assert main(["report", str(log), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 3 of 3 results failed (0 hard, 3 soft, 0 blocked, 0 unknown)\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mail.log", "report.csv", "report.html", "report.json"]
    found = json.loads((tmp_path / "report.json").read_text())
    assert (found["totals"]["soft"], found["hosts"]["rows"][0]["name"], found["recipients"]["rows"][0]["name"]) == (
        3,
        "mx.example.com",
        "j…@example.com",
    )
    log.write_text(LOG + LOG.replace("452 4.2.2 Mailbox full", "450 4.7.1 Greylisted, come back in 5 minutes"))
    assert main(["report", str(log), "-o", str(out), "--lang", "zh"]) == 0
    assert [row["new"] for row in json.loads((tmp_path / "report.json").read_text())["templates"]["rows"]] == [True, False]
    assert "新出现的退信内容" in out.read_text()
    assert capsys.readouterr().out.endswith("; 1 new wordings\n")


def test_the_readme_shows_what_comes_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.html"
    assert main(["report", str(ROOT / "tests/lab/mails"), "-o", str(out)]) == 0
    failed = capsys.readouterr().out.replace(str(out), "report.html").partition(" (")[0]
    assert f"\n{failed} (" in (ROOT / "README.md").read_text()


def test_a_folder_of_inputs_does_not_read_its_own_report(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_text(LOG)
    for _ in range(2):
        assert main(["report", str(tmp_path), "-o", str(tmp_path / "report.html")]) == 0
        assert json.loads((tmp_path / "report.json").read_text())["totals"]["read"] == 3


def test_unread_inputs_are_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone.eml"
    gone.symlink_to("nowhere")
    assert main(["report", str(gone), "-o", str(tmp_path / "out.html")]) == 3
    assert "cannot be read" in (tmp_path / "out.html").read_text()


@pytest.mark.parametrize(
    ("there", "output", "message"),
    [
        ("report.json", "report.html", "report.json: is no report of this version of bounceml"),
        ("report.csv", "report.html", "report.csv: is there already, and of no report"),
        ("mail.html", "mail.html", "mail.html: is to be read, and would be written"),
        ("mail.log", "report.csv", "JSON and CSV stand beside the page"),
        ("mail.log", "no/folder.html", "no/folder.html: its folder is not there or cannot be written"),
    ],
)
def test_no_file_of_the_user_is_overwritten(
    there: str, output: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / there
    log.write_text(LOG)
    assert main(["report", str(log), "-o", str(tmp_path / output)]) == 2
    assert message in capsys.readouterr().err
    assert log.read_text() == LOG
