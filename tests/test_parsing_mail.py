"""Raw mails to replies: the mails of ``mail/`` against ``mail/expected.jsonl``, any bytes at all, and time."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounceml.parsing import mail

MAILS = Path(__file__).parent / "mail"
EXPECTED: dict[str, list[dict[str, Any]]] = defaultdict(list)
for line in (MAILS / "expected.jsonl").read_text(encoding="utf-8").splitlines():
    EXPECTED[json.loads(line)["mail"]].append(json.loads(line))


def test_every_mail_has_an_expectation() -> None:
    assert {path.name for path in MAILS.glob("*.eml")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_mail(name: str, line_end: bytes) -> None:
    raw = (MAILS / name).read_bytes().replace(b"\n", line_end)
    replies = mail.read(raw, name)
    assert [reply.recipient for reply in replies] == [row["recipient"] for row in EXPECTED[name]]
    for reply, row in zip(replies, EXPECTED[name], strict=True):
        assert reply.outcome == row["outcome"]
        assert row["text_contains"] in reply.text
        assert row.get("text_lacks", "\0") not in reply.text
        assert reply.original_recipient == row.get("original_recipient", reply.original_recipient)
        assert reply.source == name


def test_status_field_is_kept() -> None:
    assert [reply.status for reply in mail.read((MAILS / "dsn-two-recipients.eml").read_bytes(), None)] == ["5.1.1", "5.2.2"]


def test_recipient_named_twice_gives_one_reply() -> None:
    block = b"Final-Recipient: rfc822; joe@example.com\nAction: failed\nDiagnostic-Code: smtp; 550 5.1.1 no joe\n\n"
    head = b"From: MAILER-DAEMON@example.net\nSubject: failed\nContent-Type: message/delivery-status\n\n"
    assert len(mail.read(head + block + block.replace(b"joe@", b"Joe@", 1), None)) == 1


def test_groups_of_nothing_but_a_recipient() -> None:
    head = b"From: MAILER-DAEMON@example.net\nSubject: failed\nContent-Type: message/delivery-status\n\n"
    raw = head + b"Final-Recipient: rfc822; joe@example.com\n\nFinal-Recipient: rfc822; amy@example.com\n\nAction: failed\n"
    assert [reply.recipient for reply in mail.read(raw)] == ["joe@example.com", "amy@example.com"]


def test_recipient_who_also_failed_has_failed() -> None:
    block = b"Final-Recipient: rfc822; joe@example.com\nAction: %s\nDiagnostic-Code: smtp; %s\n\n"
    head = b"From: MAILER-DAEMON@example.net\nSubject: failed\nContent-Type: message/delivery-status\n\n"
    raw = head + block % (b"delivered", b"250 Ok") + block % (b"failed", b"550 no joe") + block % (b"delivered", b"250 Ok")
    assert [(reply.outcome, reply.text) for reply in mail.read(raw)] == [("failed", "550 no joe")]


# Pieces of bounces in any order reach more of the readers than random bytes alone.
PIECES = [
    b"From: MAILER-DAEMON@example.net\n",
    b"Subject: =?utf-8?b?6YCA5L+h?= =?x?q?\xff?=\n",
    b"Content-Type: multipart/report; boundary=b; charset=punycode\n",
    b"Content-Type: message/delivery-status\n",
    b"Content-Type: message/rfc822\n",
    b"Content-Type: text/html; charset=unicode_escape\n",
    b"Content-Transfer-Encoding: base64\n",
    b"Content-Transfer-Encoding: quoted-printable\n",
    b"\n--b\n",
    b"\n--b--\n",
    b"\n\n",
    b"Final-Recipient: utf-8; \\x{D800}\\x{110000}@example.com\n",
    b"Action: delivered\n",
    b"Diagnostic-Code: smtp; 550-5.1.1 x\n",
    b"<joe@example.com>: 550 no\n",
    b'{"notificationType": "Bounce", "bounce": {"bouncedRecipients": [1, {}]}}\n',
    b"<![x[ <p>&#0;</p> <!-- \n",
    b"   ----- Transcript of session follows -----\n<<< 550 no\n",
    b"\xc4\xe3\xba\xc3\x80\xff\n",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=60)), max_size=14).map(b"".join))
def test_any_bytes_give_replies(raw: bytes) -> None:
    replies = mail.read(raw, "x.eml")
    assert replies
    assert all(isinstance(reply.text, str) and reply.error is None for reply in replies)


HEAD = b"From: MAILER-DAEMON@example.net\nSubject: failure notice\nContent-Type: multipart/report; boundary=b\n\n"
MEGABYTES = 20
HOSTILE = {
    "attachment": HEAD + b"--b\nContent-Type: text/plain\n\n<joe@example.com>:\n550 no\n--b\nContent-Type: message/rfc822\n\n",
    "delimiters": b"--b\n",
    "addresses": b"<joe@example.com> ",
    "recipients": b"<joe@example.com>:\n550 5.1.1 no\n\n",
    "tags": b"<a <![x <!-- &amp",
    "encoded words": b"=?a?q?",
    "fields": b"Final-Recipient: rfc822; a@b.cd\nAction: failed\n\n",
    "blanks": b" ",
    "lines": b"\n",
    "at signs": b"@",
    "dots": b"a.",
    "braces": b"{",
    "Chinese": "您发送到的邮件被退回".encode("gb18030"),
    "headings": b"-=",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["plain", "html", "delivery-status"])
def test_twenty_megabytes_in_two_seconds(name: str, kind: str) -> None:
    head = HEAD + {"plain": b"", "html": b"--b\nContent-Type: text/html\n\n"}.get(kind, b"--b\nContent-Type: message/delivery-status\n\n")
    piece = HOSTILE[name] if name != "attachment" else b"QUJD" * 19 + b"\n"
    start = HOSTILE["attachment"] if name == "attachment" else head
    raw = start + piece * (MEGABYTES * 1_000_000 // len(piece))
    begin = time.process_time()
    assert mail.read(raw, None)
    assert time.process_time() - begin < 2
