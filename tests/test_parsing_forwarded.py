"""Bounces that a person forwards as attachments, and what looks like it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from bounceml.parsing import mail

MAILS = Path(__file__).parent / "mail"
BOUNCE = (MAILS / "dsn-two-recipients.eml").read_bytes()
NOTICE = (MAILS / "qmail.eml").read_bytes()
PLAIN = b"From: joe@example.com\nTo: amy@example.net\nSubject: lunch\nDate: Mon, 4 May 2026 10:00:00 +0000\n\nAt noon?\n"
HEAD = b"From: Amy <amy@example.net>\nTo: help@example.net\nSubject: Fwd: it came back\nMIME-Version: 1.0\n"
WORDS = b"Hello, I sent this to a customer and it was returned, could not be delivered. Why?\n"


def forwarded(*attached: bytes, kind: bytes = b"message/rfc822", head: bytes = HEAD, words: bytes = WORDS, level: bytes = b"1") -> bytes:
    """Return a mail with these mails attached."""
    parts = [b"Content-Type: text/plain; charset=utf-8\n\n" + words, *(b"Content-Type: " + kind + b"\n\n" + mail for mail in attached)]
    body = b"".join(b"--=_outer" + level + b"\n" + part + b"\n" for part in parts)
    return head + b'Content-Type: multipart/mixed; boundary="=_outer' + level + b'"\n\n' + body + b"--=_outer" + level + b"--\n"


def found(raw: bytes) -> list[tuple[str | None, str]]:
    return [(reply.recipient, reply.outcome) for reply in mail.read(raw, "x.eml")]


KINDS = [
    b"message/rfc822",
    b"message/global",
    b'message/rfc822; name="it came back.eml"\nContent-Disposition: attachment; filename="it came back.eml"',
    b'application/octet-stream; name="it came back.eml"',
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bounce", [BOUNCE, NOTICE], ids=["report", "notice"])
@pytest.mark.parametrize("words", [WORDS, b""], ids=["prose", "no prose"])
def test_attached_bounce_is_read(kind: bytes, bounce: bytes, words: bytes) -> None:
    got = mail.read(forwarded(bounce, kind=kind, words=words), None)
    assert [(reply.recipient, reply.text) for reply in got] == [(reply.recipient, reply.text) for reply in mail.read(bounce, None)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_attached_as_base64(line_end: bytes) -> None:
    coded = base64.encodebytes(BOUNCE.replace(b"\n", line_end))
    assert found(forwarded(coded, kind=b"message/rfc822\nContent-Transfer-Encoding: base64")) == found(BOUNCE)


def test_several_bounces_beside_an_ordinary_mail() -> None:
    assert found(forwarded(BOUNCE, PLAIN, NOTICE)) == found(BOUNCE) + found(NOTICE)


def test_mail_that_is_nothing_but_an_attached_bounce() -> None:
    assert found(HEAD + b"Content-Type: message/rfc822\n\n" + BOUNCE) == found(BOUNCE)


def test_the_words_of_who_forwards_are_not_judged() -> None:
    subject = HEAD.replace(b"Fwd: it came back", b"Undeliverable: offer")
    assert found(forwarded(BOUNCE, head=subject, words=b"<zoe@example.org> could not be reached?\n")) == found(BOUNCE)


def test_forward_in_a_forward() -> None:
    assert found(forwarded(forwarded(BOUNCE, level=b"2"), forwarded(PLAIN, level=b"3"))) == found(BOUNCE)


def test_forwards_nested_deeper_than_is_read() -> None:
    raw = BOUNCE
    for level in range(5):
        raw = forwarded(raw, level=b"%d" % level)
    (reply,) = mail.read(raw, "x.eml")
    assert reply.error
    assert reply.error.startswith("x.eml: more attached mails")


def test_more_mails_than_are_read() -> None:
    *read, last = mail.read(forwarded(*[NOTICE] * 1001), None)
    assert len(read) == 1000 * len(mail.read(NOTICE))
    assert last.error


@pytest.mark.parametrize("attached", [PLAIN, (MAILS / "vacation.eml").read_bytes()], ids=["mail", "auto-reply"])
def test_what_is_no_bounce_stays_none(attached: bytes) -> None:
    assert found(forwarded(attached)) == [(None, "not_a_bounce")]


def test_auto_reply_to_a_bounce() -> None:
    head = HEAD.replace(b"Fwd: it came back", b"Automatic reply: failure notice")
    assert found(forwarded(BOUNCE, head=head)) == [(None, "not_a_bounce")]


def test_quoted_bounce_is_no_bounce() -> None:
    assert found(HEAD + b"\n" + WORDS + b"\n> " + NOTICE.replace(b"\n", b"\n> ")) == [(None, "not_a_bounce")]


def test_bounce_of_a_bounce_is_the_outer_one() -> None:
    head = b"From: MAILER-DAEMON@mx.example.net\nTo: postmaster@example.net\nSubject: failure notice\n"
    raw = forwarded(BOUNCE, head=head, words=b"<postmaster@example.net>:\n550 5.1.1 No postmaster here\n")
    assert found(raw) == [("postmaster@example.net", "failed")]
