"""The suppression list: every dead address once, and no live one, in whatever order the inputs come."""

from __future__ import annotations

import csv
import io
import json
import logging
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import conftest
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from bounceml import Classifier, output, stream, suppression
from bounceml.cli import main
from bounceml.errors import UsageError
from bounceml.parsing import times
from bounceml.values import Reply, Verdict

CLASSIFIER = Classifier.load()
DEAD = CLASSIFIER.classify(Reply("550 5.1.1 no such user", recipient="joe@example.com"))
LIVE = CLASSIFIER.classify(Reply("250 2.0.0 queued", recipient="joe@example.com", outcome="delivered"))
SOFT = CLASSIFIER.classify(Reply("452 4.2.2 mailbox full", recipient="joe@example.com"))
DAYS = [f"2024-05-0{day}T00:00:00Z" for day in range(1, 10)]


def listed(*verdicts: Verdict) -> list[dict[str, str]]:
    return [dict(zip(suppression.COLUMNS, row, strict=True)) for row in suppression.rows(verdicts)]


def written(verdicts: Iterable[Verdict]) -> str:
    return conftest.written("suppression", verdicts)


def test_these_verdicts_are_what_the_tests_take_them_for() -> None:
    assert (DEAD.suppress, LIVE.outcome, SOFT.suppress) == (True, "delivered", False)


# --- who is on it -----------------------------------------------------------------------------------------------


def test_one_row_for_all_bounces_of_an_address() -> None:
    first, last = (
        DEAD._replace(time=DAYS[1], reply="550 first"),
        DEAD._replace(time=DAYS[3], reply="550\n last ", recipient="Joe@Example.com"),
    )
    expected = {
        "email": "joe@example.com",
        "reason": "user_unknown",
        "bounce_type": "hard",
        "diagnostic": "550 last",
        "first_seen": DAYS[1],
        "last_seen": DAYS[3],
        "expires_at": "",
    }
    assert listed(first, DEAD._replace(time=DAYS[2]), last) == [expected]
    assert listed(last, DEAD._replace(time=DAYS[2]), first) == [expected | {"email": "Joe@Example.com"}]


def test_address_with_soft_bounces_only_is_not_on_it() -> None:
    assert listed(SOFT, SOFT._replace(outcome="expired")) == []
    assert listed(DEAD._replace(suppress=False)) == []


@pytest.mark.parametrize("outcome", ["delivered", "relayed", "expanded"])
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("dead", "live", "on_it"),
    [
        (DAYS[1], DAYS[2], False),
        (DAYS[2], DAYS[2], False),
        (DAYS[2], DAYS[1], True),
        (None, DAYS[1], False),
        (DAYS[1], None, False),
        (None, None, False),
        (DAYS[2][:-1], DAYS[1][:-1], True),
        (DAYS[2], DAYS[1][:-1], False),  # a clock without a zone
        (DAYS[2][:-1], DAYS[1], False),
    ],
)
def test_a_mail_that_arrived_later_takes_an_address_off(outcome: str, order: int, dead: str, live: str, on_it: bool) -> None:
    found = [DEAD._replace(time=dead), LIVE._replace(time=live, outcome=outcome, recipient="JOE@example.com")]
    assert bool(listed(*found[::order])) is on_it


def test_the_alias_that_a_mail_arrived_through_is_live() -> None:
    assert listed(DEAD, LIVE._replace(recipient="amy@example.net", original_recipient="joe@example.com")) == []


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([DEAD, LIVE, SOFT]), st.sampled_from([None, *DAYS[:4]]))), st.randoms())
def test_no_live_address_is_on_it_and_order_does_not_matter(drawn: list[tuple[str, Verdict, str | None]], shuffled: random.Random) -> None:
    found = [verdict._replace(recipient=f"{name}@example.com", time=when) for name, verdict, when in drawn]
    on_it = {row["email"]: row for row in listed(*found)}
    for name in "ab":
        mine = [verdict for verdict in found if verdict.recipient == f"{name}@example.com"]
        dead = [verdict.time or "" for verdict in mine if verdict.suppress]
        live = [verdict.time or "9999" for verdict in mine if verdict.outcome == "delivered"]
        assert (f"{name}@example.com" in on_it) is bool(dead and (not live or max(live) < max(dead)))
    shuffled.shuffle(found)
    assert {row["email"]: row for row in listed(*found)} == on_it


def test_dead_address_without_a_name_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert listed(DEAD._replace(recipient=None), DEAD._replace(recipient="root")) == []
    assert caplog.messages == ["left off the list, as the input does not tell their addresses: 2 dead recipients"]


# --- when it expires --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "expires"), [("2024-05-01T00:00:00Z", "2024-05-31T00:00:00Z"), ("2024-05-01T00:00:00", "2024-05-31T00:00:00")]
)
def test_expires_so_many_days_after_the_last_bounce(seen: str, expires: str) -> None:
    (row,) = listed(DEAD._replace(category="host_unknown", suppress_days=30, time=seen))
    assert (row["last_seen"], row["expires_at"]) == (seen, expires)


def test_without_times_the_days_count_from_now() -> None:
    (row,) = listed(DEAD._replace(category="host_unknown", suppress_days=30))
    assert (row["first_seen"], row["last_seen"]) == ("", "")
    assert row["expires_at"] > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 29 * 86400))


# --- the table --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start: str) -> None:
    raw = written([DEAD._replace(reply=f"{start}cmd|' /C calc'!A0", recipient=f"{start}1+1@example.com")])
    (row,) = csv.DictReader(io.StringIO(raw, newline=""))
    assert not [cell for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_any_address_is_written() -> None:
    (row,) = csv.DictReader(io.StringIO(written([DEAD._replace(recipient='a"b,\ud800\0@例子.cn')]), newline=""))
    assert row["email"] == 'a"b,\\ud800\0@例子.cn'


def test_no_room_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(UsageError, match=r"the recipients cannot be kept \(database or disk is full\); make room in "):
        listed(DEAD)


def test_memory_does_not_grow_with_the_recipients() -> None:
    code = (
        "from bounceml import Classifier, suppression\nfrom bounceml.values import Reply\n"
        "dead = Classifier.load().classify('550 5.1.1 no such user')\nlive = dead._replace(outcome='delivered', suppress=False)\n"
        "def found(n):\n"
        "    for i in range(n):\n"
        "        yield (live if i % 9 else dead)._replace(recipient=f'{i * 7919 % n}.{\"x\" * 200}@example.com')\n"
        "def peak(): return [int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')][0] // 1024\n"
        "list(suppression.rows(found(10)))\nbefore = peak()\n"
        "count = sum(1 for _ in suppression.rows(found(200_000)))\nprint(count, peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    count, megabytes = map(int, done.stdout.split())
    assert count == 22_223  # their addresses alone have 40 MB
    assert megabytes < 20


# --- the command line -------------------------------------------------------------------------------------------

LOG = """\
2024-05-01T08:00:00+02:00 mx postfix/smtp[7]: 4F2A91C0: to=<joe@example.com>, relay=none, dsn=5.1.1, status=bounced (550 5.1.1 no such user)
2024-05-01T09:00:00+02:00 mx postfix/smtp[7]: 4F2A91C1: to=<amy@example.com>, relay=none, dsn=5.1.1, status=bounced (550 5.1.1 no such user)
2024-05-02T09:00:00+02:00 mx postfix/smtp[7]: 4F2A91C2: to=<amy@example.com>, relay=none, dsn=2.0.0, status=sent (250 2.0.0 Ok)
2024-05-03T09:00:00+02:00 mx postfix/smtp[7]: 4F2A91C3: to=<bob@example.com>, relay=none, dsn=4.2.2, status=deferred (452 mailbox full)
"""
ROW = "joe@example.com,user_unknown,hard,550 5.1.1 no such user,2024-05-01T06:00:00Z,2024-05-01T06:00:00Z,\n"
LIST = ",".join(suppression.COLUMNS) + "\n" + ROW


def test_list_of_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, out = tmp_path / "mail.log", tmp_path / "list.csv"
    log.write_text(LOG)
    assert main(["predict", str(log), "--to", "suppression"]) == 0
    assert capsys.readouterr().out == LIST
    out.write_text("old")
    assert main(["predict", str(log), str(log), "--to", "suppression", "-o", str(out)]) == 0
    assert out.read_text() == LIST
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.csv", "mail.log"]


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("point", [0, 1, 3])
def test_killed_run_leaves_the_old_list_and_the_next_one_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: int) -> None:
    monkeypatch.setattr(output, "CHECKPOINT_EVERY", 0.0)
    log, out = tmp_path / "mail.log", tmp_path / "list.csv"
    log.write_text(LOG)
    out.write_text("old")

    def answer(judged: int) -> None:
        def judge(reply: Reply) -> Verdict:
            if next(count) == judged:
                raise Killed
            return CLASSIFIER.classify(reply)

        count = iter(range(sys.maxsize))
        conftest.answered(out, {"inputs": [str(log)], "to": "suppression"}, judge)

    with pytest.raises(Killed):
        answer(point)
    assert out.read_text() == "old"
    answer(sys.maxsize)
    assert out.read_text() == LIST


def test_a_real_kill_leaves_no_half_list(tmp_path: Path) -> None:
    out = tmp_path / "list.csv"
    command = [sys.executable, "-m", "bounceml", "predict", "--format", "postfix", "--to", "suppression", "-o", str(out), "-"]
    running = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)
    assert running.stdin
    running.stdin.write(LOG.encode())
    running.stdin.flush()
    for _ in range(100):
        if (tmp_path / "list.csv.part").exists():
            break
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert not out.exists()
    assert subprocess.run(command, cwd=ROOT, input=LOG.encode(), check=False).returncode == 0
    assert out.read_text() == LIST


def test_mails_are_not_settled_for_a_list(tmp_path: Path) -> None:
    run: dict[str, object] = {"inputs": [], "to": "suppression"}
    opened = output.opened(tmp_path / "x", run, settles=True, say=lambda _: None)
    with pytest.raises(UsageError, match="--imap-done needs a file in which the verdicts are safe"), opened:
        pass


# --- where the times come from ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_time", "expected"),
    [
        ("2024-05-01T08:00:00.123+02:00", "2024-05-01T06:00:00Z"),
        ("2024-05-01 08:00:00", "2024-05-01T08:00:00"),
        (1714543200.5, "2024-05-01T06:00:00Z"),
        ("1714543200000", "2024-05-01T06:00:00Z"),
        ("Wed, 1 May 2024 08:00:00 +0200 (CEST)", "2024-05-01T06:00:00Z"),
        ("Thu, 01 Jan 1970 00:00:00 +0000", None),
        ("99999999999999999999", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("", None),
        (True, None),
        ({"a": 1}, None),
    ],
)
def test_time_of_any_form(given_time: object, expected: str | None) -> None:
    assert times.iso(given_time) == expected


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("Nov  3 10:00:00", "2026-11-03T10:00:00"),
        ("<22>Dec 31 23:59:59", "2025-12-31T23:59:59"),
        ("Feb 29 08:00:00", "2024-02-29T08:00:00"),
        ("Nov  3 2020 10:00:00", "2020-11-03T10:00:00"),
        ("Nov 31 10:00:00", None),
        ("Foo  3 10:00:00", None),
        ("@40000000663200000a0b0c0d", "2024-05-01T08:40:22Z"),
    ],
)
def test_time_of_a_log_line(stamp: str, expected: str | None) -> None:
    assert times.of_line(f"{stamp} mx postfix/smtp[7]: x", datetime(2026, 11, 23, 12)) == expected


@given(st.text() | st.integers() | st.floats() | st.none())
def test_no_time_defeats_the_reader(value: object) -> None:
    found = times.iso(value)
    assert found is None or times.iso(found) == found


EVENT = json.dumps({"event": "bounce", "email": "a@b.c", "sg_event_id": "x", "reason": "550 no", "timestamp": 1714543200})
MAIL = """\
From: MAILER-DAEMON@example.net
Date: Wed, 1 May 2024 08:00:00 +0200
Subject: failure notice

<joe@example.com>:
550 no such user
"""


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        (LOG, "postfix", "2024-05-01T06:00:00Z"),
        ("2024-05-01 09:00:02 1s2AbC-0001xy-2D ** ann@example.net R=dns T=smtp: 550 5.1.1 no such user", "exim", "2024-05-01T09:00:02"),
        ("@4000000066320a1c0c0d0e0f delivery 1: failure: 550_5.1.1_no_such_user/", "qmail", "2024-05-01T09:23:30Z"),
        (
            "May  1 2024 12:00:00 mx sm-mta[7]: 44180012000900: to=<a@example.net>, dsn=5.1.1, stat=User unknown",
            "sendmail",
            "2024-05-01T12:00:00",
        ),
        ("type,timeLogged,rcpt,dsnDiag\nb,2024-05-01 08:00:00+0200,a@example.com,550 no such user", "powermta", "2024-05-01T06:00:00Z"),
        ("text,date\n550 no such user,2024-05-01", "csv", "2024-05-01T00:00:00"),
        (EVENT, "sendgrid", "2024-05-01T06:00:00Z"),
        (MAIL, "eml", "2024-05-01T06:00:00Z"),
    ],
)
def test_time_of_each_input(text: str, form: str, expected: str | None, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_text(text)
    assert next(stream.replies([str(path)], form)).time == expected
