"""Mail logs to replies: the logs of ``logs/`` against what is expected of each line, any text at all, and time."""

from __future__ import annotations

import io
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounceml.parsing import logs, logs_powermta
from bounceml.values import Reply

LOGS = Path(__file__).parent / "logs"
PROGRAMS = [program.name for program in logs.PROGRAMS]


def expected(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (LOGS / f"{name}.expected.jsonl").read_text(encoding="utf-8").splitlines()]


def as_row(reply: Reply) -> dict[str, Any]:
    row: dict[str, Any] = {"line": int(str(reply.source).rpartition(":")[2]), "recipient": reply.recipient}
    row |= {"outcome": reply.outcome, "text": reply.text}
    row |= {name: value for name in ("original_recipient", "status") if (value := getattr(reply, name))}
    return row | ({"error": True} if reply.error else {})


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_log(name: str, line_end: bytes) -> None:
    raw = (LOGS / f"{name}.log").read_bytes().replace(b"\n", line_end)
    assert [as_row(reply) for reply in logs.read_log(io.BytesIO(raw), "x.log", None)] == expected(name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_log_is_recognised(name: str) -> None:
    raw = (LOGS / f"{name}.log").read_bytes()
    assert logs.recognise_log(raw) == name
    assert logs.recognise_log(raw[:700]) == name


@pytest.mark.parametrize(
    "head", [b"", b"\n", b"550 5.1.1 no\n", b"From: a@example.com\nSubject: x\n\n", b"May  1 10:00:00 mx cron[1]: hi\n"]
)
def test_other_files_are_no_log(head: bytes) -> None:
    assert logs.recognise_log(head) is None


def test_powermta() -> None:
    raw = (LOGS / "powermta.csv").read_bytes()
    assert logs_powermta.recognise(raw)
    assert [as_row(reply) for reply in logs_powermta.read(io.BytesIO(raw), "x.csv")] == expected("powermta")


def test_powermta_keeps_its_columns() -> None:
    lines = [b"type,rcpt,dsnDiag,jobId,vmta\n", b'b,joe@example.com,"smtp;550 no",spring,pool-1,extra\n', b'b,"amy@example.com\n']
    reply, broken = logs_powermta.read(iter(lines), "x.csv")
    assert reply.columns is not None
    assert dict(reply.columns) == {
        "type": "b",
        "rcpt": "joe@example.com",
        "dsnDiag": "smtp;550 no",
        "jobId": "spring",
        "vmta": "pool-1",
        "column_6": "extra",
    }
    assert broken.error
    assert broken.error.startswith("x.csv:3: a quote opens")


def test_powermta_without_its_header_says_so() -> None:
    (reply,) = logs_powermta.read(io.BytesIO(b"b,2024-05-01,x\n"), "x.csv")
    assert reply.error
    assert "x.csv:1" in reply.error


# --- one line ---------------------------------------------------------------------------------------------------

NO_RESULT = [
    "May  1 10:00:00 mx postfix/smtpd[7]: connect from unknown[192.0.2.1]",
    "May  1 10:00:00 mx postfix/qmgr[7]: 4F2A91C0: removed",
    "May  1 10:00:00 mx postfix/smtpd[7]: NOQUEUE: filter: RCPT from h[192.0.2.1]: <a@example.com>; from=<> to=<a@example.com>",
    "May  1 10:00:00 mx dovecot: imap-login: Aborted login",
    "May  1 10:00:00 mx CRON[7]: session closed",
    "2024-05-01 10:00:00 1s2AbC-0001xy-2D <= a@example.com U=joe P=local S=400",
    "2024-05-01 10:00:00 1s2AbC-0001xy-2D Completed",
    "2024-05-01 10:00:00 1s2AbC-0001xy-2D Message is frozen",
    "2024-05-01T10:00:00Z mx smtpd[7]: c1a89cb774083905 mta connected",
    "@4000000066320a1b0c0d0e0f status: local 0/10 remote 1/20",
]
NO_LOG = [
    "550 5.1.1 No such user",
    "host mx.example.net[192.0.2.1] said: 550 5.1.1 unknown (in reply to RCPT TO command)",
    "smtp; 550 5.7.1 Reject: spam ** see postmaster",
    "qmail: relaying is not allowed",
    "SMTP error from remote mail server after RCPT TO:<a@example.com>: 550 no",
    "您的邮件被退回：收件人不存在",
    "",
]
# Trouble that is no result: a pasted line gets its answer, a log run leaves it out.
TROUBLE = {
    "May  1 10:00:00 mx postfix/smtp[7]: connect to h[192.0.2.1]:25: Connection refused": "connect to h[192.0.2.1]:25: Connection refused",
    "May  1 10:00:00 mx postfix/smtp[7]: 4F2A91C0: host h[192.0.2.1] said: 450 later": "host h[192.0.2.1] said: 450 later",
    "2024-05-01 10:00:00 1s2AbC-0001xy-2D H=mx.example.net [192.0.2.1] Connection refused": "Connection refused",
    "May  1 10:00:00 mx myapp[7]: mail failed: 550 5.1.1 No such user": "mail failed: 550 5.1.1 No such user",
}
FRAGMENTS = {
    "to=<a@example.com>, relay=none, delay=0, dsn=5.4.4, status=bounced (no such host)": ("a@example.com", "failed", "no such host"),
    "** a@example.com R=dnslookup T=remote_smtp: Unrouteable address": ("a@example.com", "failed", "Unrouteable address"),
    'to=<a@example.com> evpid=1 delivery evpid=1 from=<> to=<b@example.com> result="Ok" stat="250 ok"': (
        "b@example.com",
        "delivered",
        "250 ok",
    ),
    "to=<a@example.com>, delay=1, stat=Host unknown": ("a@example.com", "failed", "Host unknown"),
    "delivery 7: failure: no_such_user/": (None, "failed", "no such user"),
    "4F2A91C0: to=<a@example.com>, relay=x, status=SOFTBOUNCE (550 no)": ("a@example.com", "delayed", "550 no"),
    "1s2AbC-0001xy-2D == a@example.com R=r T=t defer (-1)": ("a@example.com", "delayed", "defer (-1)"),
}


@pytest.mark.parametrize("line", NO_RESULT)
def test_line_without_a_result(line: str) -> None:
    assert logs.read_line(line) == []


@pytest.mark.parametrize("line", NO_LOG)
def test_text_that_is_no_log_line(line: str) -> None:
    assert logs.read_line(line) is None


@pytest.mark.parametrize("line", TROUBLE)
def test_trouble_is_told_and_left_out_of_a_log(line: str) -> None:
    assert [(reply.text, reply.outcome) for reply in logs.read_line(line) or []] == [(TROUBLE[line], "unknown")]
    log = (LOGS / "postfix.log").read_bytes()
    assert len(list(logs.read_log(io.BytesIO(log + line.encode() + b"\n"), "x", None))) == len(expected("postfix"))


@pytest.mark.parametrize("line", FRAGMENTS)
def test_fragment(line: str) -> None:
    assert [(reply.recipient, reply.outcome, reply.text) for reply in logs.read_line(line) or []] == [FRAGMENTS[line]]


def test_foreign_lines_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    log = (LOGS / "postfix.log").read_bytes() + b"what is this?\n\nand that\n"
    with caplog.at_level(logging.WARNING):
        assert len(list(logs.read_log(io.BytesIO(log), "x.log", None))) == len(expected("postfix"))
    assert caplog.messages == ["x.log: 2 lines are of no mail log; they were left out"]


def test_lines_of_a_file_that_is_no_log_are_replies() -> None:
    raw = b"550 a\n550 b\n" + b"550 c\n" + (LOGS / "postfix.log").read_bytes().splitlines()[5]
    assert [reply.source for reply in logs.read_log(io.BytesIO(raw), "x", None)] == ["x:1", "x:2", "x:3", "x:4"]


def test_a_long_line_is_an_error_and_the_rest_goes_on() -> None:
    log = (LOGS / "exim.log").read_bytes().splitlines(keepends=True)
    raw = b"".join([*log[:2], b"x" * 1_000_000 + b"\n", *log[2:]])
    replies = list(logs.read_log(io.BytesIO(raw), "x", None))
    assert [reply.source for reply in replies if reply.error] == ["x:3", "x:22"]
    assert len(replies) == len(expected("exim")) + 1


# --- hostile ----------------------------------------------------------------------------------------------------

LINES = [line for name in PROGRAMS for line in (LOGS / f"{name}.log").read_text(encoding="utf-8").splitlines()]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(LINES), st.sampled_from(LINES).map(lambda line: line[30:]), st.text(max_size=40)), max_size=4))
def test_any_text_is_read(pieces: list[str]) -> None:
    for joined in ("".join(pieces), " ".join(pieces)):
        for reply in logs.read_line(joined) or []:
            assert bool(reply.text) != bool(reply.error)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(LINES).map(str.encode), st.binary(max_size=40)), max_size=8).map(b"\n".join))
def test_any_bytes_are_read(raw: bytes) -> None:
    logs.recognise_log(raw)
    for reader in (logs.read_log, logs_powermta.read):
        assert all(isinstance(reply.text, str) for reply in reader(io.BytesIO(raw), "x", None))


PIECES = [
    *(
        "postfix/smtp[7]: ",
        "to=<",
        "to=<>, ",
        "status=",
        " status=bounced (",
        "NOQUEUE: ",
        "reject: ",
        "reject: RCPT from ",
        "; from=<",
        "a.b/",
    ),
    *("** ", "== a", " R=", ' C="', '"', " (", " <a", ": ", " defer (", " rejected ", "rejected RCPT <", "exim: ", "20", "[", " H="),
    *(" evpid=", "delivery evpid=", 'failed-command command="', "relay: Ok for 0123456789abcdef: ", ", stat=", " result=", "smtpd[7]: "),
    *(
        "sendmail[1]: ",
        ", reject=",
        "Milter: to=",
        "<a>... ",
        "/",
        "_",
        "delivery 1: failure: ",
        "starting delivery ",
        "May  1 10:00:00 a ",
    ),
    *("\\", " ", "1", "a@", "550 5.1.1 ", "4.2.2 "),
]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(
    "start",
    ["", "May  1 10:00:00 mx postfix/smtp[7]: 4F2A91C0: ", "2024-05-01 10:00:00 1s2AbC-0001xy-2D ** ", "May  1 10:00:00 mx sm-mta[1]: "],
)
def test_longest_line_in_a_tenth_of_a_second(start: str, piece: str) -> None:
    line = (start + piece * 40_000)[:32_768]
    begin = time.perf_counter()
    logs.read_line(line)
    assert time.perf_counter() - begin < 0.1


def test_a_longer_text_is_no_log_line() -> None:
    assert logs.read_line("to=<a@example.com>, relay=x, status=bounced (" + "x" * 40_000) is None


def test_an_ordinary_reply_costs_little() -> None:
    line = "550 5.1.1 <joe@example.com>: Recipient address rejected: User unknown in virtual mailbox table"
    begin = time.perf_counter()
    for _ in range(20_000):
        logs.read_line(line)
    assert time.perf_counter() - begin < 20_000 * 10e-6  # 1.5 µs measured; the margin is for busy machines
