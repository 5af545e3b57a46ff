from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounceml import tables, text
from bounceml.values import Reading, Reply


def read_text(reply: str) -> Reading:
    return text.read(Reply(reply))


@pytest.mark.parametrize(
    ("reply", "code", "status"),
    [
        ("552 5.2.2 mailbox full", 552, "5.2.2"),
        ("550-5.1.1 no such user", 550, "5.1.1"),
        ("smtp;550 5.1.1 no such user", 550, "5.1.1"),
        ("host mx.example.com[192.0.2.1] said: 550 User unknown (in reply to RCPT TO command)", 550, None),
        ("<joe@example.com>: 553 sorry, that domain isn't in my list (#5.7.1)", 553, "5.7.1"),
        ("550", 550, None),
        ("550<joe@example.com>... Relaying denied", 550, None),
        ("5.7.1 Delivery not authorized", None, "5.7.1"),
        ("你发送到 li@example.cn 的邮件由于以下原因被退回 : 550 CoremailSys:System is busy.", 550, None),
        ("Remote Server returned '554 5.7.1 blocked'", 554, "5.7.1"),
        # what is no code
        ("refused by [203.5.2.2]", None, None),
        ("refused by 203.5.2.2 on port 25", None, None),
        ("message of 552 bytes is over the limit", None, None),
        ("the limit is 500 messages a day", None, None),
        ("Exim version 4.9.6 gave up", None, None),
        ("queued as 550A1B2C", None, None),
        ("mailbox has 450 of 500 MB", None, None),
    ],
)
def test_codes(reply: str, code: int | None, status: str | None) -> None:
    assert text.read(Reply(reply)).codes == (code, status)


def test_multi_line_reply_is_joined_and_keeps_one_code() -> None:
    reply = "550-5.1.1 The email account that you tried\r\n550-5.1.1 to reach does not exist.\r\n550 5.1.1 Try again"
    assert text.normalise(reply) == "550 5.1.1 The email account that you tried to reach does not exist. Try again"


def test_full_width_and_hidden_addresses() -> None:
    assert text.normalise("５５０　Ｕｓｅｒ［email protected］") == "550 Userhidden@address.invalid"


@pytest.mark.parametrize(
    ("token", "mark"),
    [
        ("<joe@example.com>:", "<addr>:"),
        ("joe+x@sub.example.com,", "<addr>,"),
        ("[192.0.2.7]", "<ip>"),
        ("[203.5.2.2]:25", "<ip>:<num>"),
        ("2001:db8::25", "<ip>"),
        ("mx1.example.com[192.0.2.1]", "<host><ip>"),
        ("mailspamprotection.com", "<host>"),
        ("zen.spamhaus.org", "dnsbl:spamhaus"),
        ("https://support.example.com/mail/?p=NoSuchUser", "<url> mail nosuchuser"),
        ("7372800", "<num>"),
        ("550", "550"),
        ("(#5.7.1)", "(#5.7.1)"),
        ("MI:SPF", "mi:spf"),
        ("S3140", "s3140"),
        ("a92af1059b6si1234567pjb.52", "<id>"),
    ],
)
def test_mark(token: str, mark: str) -> None:
    assert text.mark(token) == mark


@pytest.mark.parametrize(
    ("reply", "template", "expired"),
    [
        (
            "452 4.2.2 Over quota\nWarning: message still undelivered after 6 hours\nWill keep trying until message is 3 days old",
            "452 4.2.2 over quota",
            False,
        ),
        (
            "452 4.2.2 Over quota\nMessage could not be delivered for 3 days\nMessage will be deleted from queue",
            "452 4.2.2 over quota",
            True,
        ),
        (
            "Deferred\nWarning: message still undelivered after 6 hours",
            "deferred warning: message still undelivered after <num> hours",
            False,
        ),
    ],
)
def test_what_sendmail_says_of_the_time_is_not_the_cause(reply: str, template: str, expired: bool) -> None:
    reading = text.read(Reply(reply))
    assert (reading.template, reading.expired) == (template, expired)


def test_escalated_deferral_is_unwrapped() -> None:
    reading = text.read(Reply("554 5.4.7 [internal] message expired (last transfail: 452 4.2.2 Mailbox full)"))
    assert reading.expired
    assert reading.codes == (452, "4.2.2")
    assert "mailbox full" in reading.template
    assert "internal" not in reading.template


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("mailbox is full: retry timeout exceeded", "mailbox is full"),
        (
            "Unable to open the user database. I'm not going to try again; this message has been in the queue too long.",
            "unable to open the user database.",
        ),
        ("joe@example.com: retry timeout exceeded", "<addr>: retry timeout exceeded"),
        ("retry timeout exceeded", "retry timeout exceeded"),
    ],
)
def test_an_expiry_is_taken_off_only_where_an_inner_cause_is_left(text: str, template: str) -> None:
    reading = read_text(text)
    assert reading.template == template
    assert reading.expired


def test_report_status_stands_in_only_where_the_text_has_none() -> None:
    assert text.read(Reply("mailbox full", status="5.2.2")).codes.status == "5.2.2"
    assert text.read(Reply("552 5.2.3 too big", status="5.0.0")).codes.status == "5.2.3"


def test_connected_host_and_recipient_domain() -> None:
    own = text.read(Reply("<li@example.cn> : connect to example.cn: Connection refused")).template
    other = text.read(Reply("<li@example.cn> : connect to mx.example.cn: Connection refused")).template
    assert own.endswith("rel:host=domain")
    assert "rel:" not in other


def test_chinese_words_come_from_our_list() -> None:
    assert text.tokens("对方邮箱空间不足") == ["对方", "邮箱", "空间不足"]


@given(st.text(max_size=300))
def test_normalising_twice_changes_nothing(anything: str) -> None:
    once = text.normalise(anything)
    assert text.normalise(once) == once


PIECES = [
    *("550", "550-", "550 ", "5.1.1", " ", "  ", "\n", "\r\n", "\t", "\x0b", "x", "é", "\0", "\1", "ａ"),
    *("[email protected]", "[Email Protected]", "HL:ICC", "AS(42003)", "<joe@example.com>", "mx.example.net[192.0.2.1]", "-", " said: "),
    *("，", "。", "：", "（", "\u3000", "\u0301", "´", "…", "㈱", "ﬁ", "用户", "\u200b"),
]


@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text(max_size=60), st.booleans())
def test_a_wording_holds_the_marks_of_the_normalised_tokens(anything: str, long: bool) -> None:
    given = anything + " x" * 2000 * long
    reading = text.read(Reply(given))
    marks = " ".join(map(text.mark, text.normalise(given).split()))
    assert re.sub("\0[^ ]+", "", text.wording(given)) == marks
    assert set(reading.named) == {name for name in text._CODE_LIKE.findall(text.normalise(given)) if name in tables.provider_codes()}


@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text(max_size=60))
def test_plain_texts_need_no_step(anything: str) -> None:
    stepwise = anything
    for step in text.STEPS:
        stepwise = step(stepwise)
    assert text.normalise(anything) == stepwise
