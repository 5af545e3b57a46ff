"""Text whose charset is not declared, or wrongly: the sentences are ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bounceml.parsing import decode, mail, parts

RUSSIAN = ("Почтовый ящик переполнен", "Письмо не доставлено: такого пользователя у нас нет, проверьте адрес.")
JAPANESE = ("配信エラーのお知らせ", "宛先のメールボックスがいっぱいです。しばらくしてからもう一度お送りください。")
SIMPLIFIED = ("退信通知", "很抱歉，对方邮箱不存在，您的邮件没有送达，请核对收件人地址。")
TRADITIONAL = ("郵件傳送失敗通知", "很抱歉，對方的信箱已滿，您的郵件沒有送達，請稍後再試一次。")
KOREAN = ("메일 전송 실패", "받는 사람의 메일함이 가득 차서 메일을 전달하지 못했습니다. 나중에 다시 보내 주십시오.")
WORDS = {
    "koi8-r": RUSSIAN,
    "windows-1251": RUSSIAN,
    "shift_jis": JAPANESE,
    "euc-jp": JAPANESE,
    "iso-2022-jp": JAPANESE,
    "gb18030": SIMPLIFIED,
    "big5": TRADITIONAL,
    "euc-kr": KOREAN,
    "windows-1252": ("Empfänger unbekannt", "Das Postfach von Herrn Müller nimmt für längere Zeit keine Mails an."),
}
ENGLISH = b"This is the mail system at mx.example.net. Your message could not be delivered.\n\n"


def notice(charset: str, declared: str) -> bytes:
    subject, reason = (words.encode(charset) for words in WORDS[charset])
    kind = f"Content-Type: text/plain; charset={declared}\n".encode() if declared else b""
    head = b"From: MAILER-DAEMON@mx.example.net\nTo: amy@example.net\nSubject: %s\n%s\n" % (subject, kind)
    return head + ENGLISH + b"<joe@example.com>:\n550 5.0.0 " + reason + b"\n"


@pytest.mark.parametrize("charset", WORDS)
@pytest.mark.parametrize("declared", ["", "us-ascii", "iso-8859-1", "utf-8", "x-unknown"])
def test_charset_that_is_not_declared(charset: str, declared: str) -> None:
    raw = notice(charset, declared)
    (reply,) = mail.read(raw)
    assert (reply.recipient, reply.text) == ("joe@example.com", f"550 5.0.0 {WORDS[charset][1]}")
    assert parts.take_apart(raw).headers["subject"] == WORDS[charset][0]


@pytest.mark.parametrize("declared", ["us-ascii", "iso-8859-1", "windows-1252", "iso-2022-jp", ""])
def test_utf8_under_another_name(declared: str) -> None:
    assert decode.text("Käse".encode(), declared) == "Käse"


def test_a_broken_character_does_not_break_the_others() -> None:
    whole = SIMPLIFIED[1]
    assert decode.text(whole.encode("gb18030")[:-1], "")[: len(whole) - 1] == whole[:-1]
    assert decode.text(whole.encode("gb18030") + b"\xff", "gb2312").startswith(whole)


def test_declared_charset_is_believed() -> None:
    assert decode.text("наш".encode("iso-8859-5"), "iso-8859-5") == "наш"
    assert decode.text("Grüße aus Köln".encode("iso-8859-1"), "iso-8859-1") == "Grüße aus Köln"


def test_detector_is_loaded_only_where_it_is_needed() -> None:
    code = "import sys; from bounceml.parsing import mail; mail.read(sys.stdin.buffer.read()); print('chardet' in sys.modules)"
    for charset, loaded in (("windows-1252", b"False"), ("koi8-r", b"True")):
        done = subprocess.run([sys.executable, "-c", code], input=notice(charset, ""), capture_output=True, check=True)
        assert done.stdout.strip() == loaded
