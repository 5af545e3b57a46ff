"""Hostile and broken input: bounded memory and time, a row with ``error`` where there is no answer, and the rest goes on."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, written

from bounceml import Classifier, details, parsing, rules, tables, text
from bounceml.parsing import containers, decode, logs, mail, rows
from bounceml.values import Reply

HEAD = b"From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n"
REPORT = HEAD + b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n"
HTML = HEAD + b"Content-Type: text/html\n\n"
SIZE = 20 * 2**20

# What repeats to 20 MB, below what; the comment says what it defeated once.
REPEATED = {
    "dashes": (HEAD + b"\n", b"-"),  # 20 s: "--.*--" and "-+.*transcript" in the headings of a notice
    "comments": (HTML, b"<!--"),  # 3 s: html.parser looks for the end of each
    "tags": (HTML, b'<a b="'),  # 12 s: the same for quotes
    "folded field": (REPORT + b"Final-Recipient: rfc822; a@b.cd\nDiagnostic-Code: smtp; 550", b" no\n"),  # minutes: copied for each line
    "NUL": (HEAD + b"\n", b"\0"),
    "wrong charset": (HEAD + b"Content-Type: text/plain; charset=iso-2022-jp\n\n", b"\x1b$B\xff"),
    "truncated base64": (HEAD + b"Content-Transfer-Encoding: base64\n\n", b"NTUwIG5v" * 9 + b"=\n"),
    "boundaries": (HEAD + b"\n", b"boundary=x "),
    "addresses": (HEAD + b"\n", b"<joe@example.com> "),  # 30 s: the rest of the line was copied for each
    "addresses that are no tags": (HTML, b"<joe@example.com> "),  # 6 s: blanks without a line end
    "recipients without a reply": (HEAD + b"\n", b"to a@b.cd \n"),
}

_MEASURE = """
import sys, time
raw = sys.stdin.buffer.read()
from bounceml import Classifier
from bounceml.parsing import mail
classifier = Classifier.load()
begin = time.process_time()
count = sum(1 for _ in classifier.classify_all(mail.read(raw)))
seconds = time.process_time() - begin
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(count, seconds, int(peak[0]) // 1024)
"""


def measured(raw: bytes) -> tuple[int, float, int]:
    """Answer a mail in a process of its own; return its verdicts, the seconds, and the most memory it had in MB."""
    done = subprocess.run([sys.executable, "-c", _MEASURE], input=raw, capture_output=True, check=True, cwd=ROOT)
    count, seconds, megabytes = done.stdout.split()
    return int(count), float(seconds), int(megabytes)


@pytest.mark.parametrize("name", REPEATED)
def test_mail_of_twenty_megabytes(name: str) -> None:
    head, piece = REPEATED[name]
    count, seconds, megabytes = measured(head + piece * ((SIZE - len(head)) // len(piece)))
    assert count == 2  # the last says that the mail was too large
    assert seconds < 2
    assert megabytes < 400


def test_ten_thousand_nested_parts() -> None:
    parts = b"".join(b"--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n" % (n, n + 1) for n in range(10_000))
    count, seconds, megabytes = measured(HEAD + b"Content-Type: multipart/mixed; boundary=b0\n\n" + parts)
    assert (count, seconds < 2, megabytes < 400) == (1, True, True)


def test_attached_mails() -> None:
    inner = b"From: MAILER-DAEMON@example.net\nSubject: failure\n\n<joe@example.com>:\n550 5.1.1 no such user\n"
    head = b"From: amy@example.net\nSubject: Fwd\nContent-Type: multipart/mixed; boundary=%d\n\n"
    part = b"--%d\nContent-Type: message/rfc822\n\n"
    branch = part % 1 + head % 2 + (part % 2 + inner) * 20
    count, seconds, megabytes = measured(head % 1 + branch * (SIZE // len(branch)))
    assert count > 1000
    assert seconds < 2
    assert megabytes < 400


def test_a_hundred_thousand_recipients_each_have_a_verdict() -> None:
    fields = b"Final-Recipient: rfc822; u%d@example.com\nAction: failed\nDiagnostic-Code: smtp; 550 No such user\n\n"
    raw = REPORT + b"".join(fields % number for number in range(100_000))
    count, seconds, megabytes = measured(raw)
    assert count == 100_000
    assert seconds < 15
    assert megabytes < 400


LONG = b"Your message could not be delivered, and the mail system of the recipient does not say why.\n\n" * 9000
PROSE = HEAD + b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: text/plain\n\n"
STATUS = b"\n--b\nContent-Type: message/delivery-status\n\n"
CROWDS = {
    "no reply": LONG + STATUS + b"".join(b"Final-Recipient: rfc822;u%d@b.cd\nAction: failed\n\n" % n for n in range(230_000)),
    "delayed": LONG + STATUS + b"".join(b"Final-Recipient: rfc822;u%d@b.cd\nAction: delayed\n\n" % n for n in range(230_000)),
    "a million": STATUS + b"".join(b"Final-Recipient: rfc822;u%d@b.cd\n\n" % n for n in range(1_000_000))[:SIZE],
}


@pytest.mark.parametrize("name", CROWDS)
def test_crowds_of_recipients(name: str) -> None:
    raw = PROSE + CROWDS[name]
    begin = time.process_time()
    *read, last = mail.read(raw)
    assert time.process_time() - begin < 4  # half of that on a machine with nothing else to do
    assert [reply.recipient for reply in read[:150_000]] == [f"u{number}@b.cd" for number in range(150_000)]
    assert last.error


def test_crowd_has_its_verdicts() -> None:
    count, seconds, megabytes = measured(PROSE + CROWDS["no reply"])
    assert count > 150_000
    assert seconds < 20  # it took 45 when every reply was read anew
    assert megabytes < 400


def test_report_that_is_too_large_says_what_is_missing() -> None:
    raw = REPORT + b"".join(b"Final-Recipient: rfc822; %d@b.cd\nAction: failed\n%s\n" % (n, b"X-A: " + b"b" * 14_000) for n in range(1000))
    *read, last = mail.read(raw, "x.eml")
    assert [reply.recipient for reply in read] == [f"{number}@b.cd" for number in range(len(read))]
    assert last.error == "x.eml: a delivery report of more than 10 MB; what stands behind that was not read"


NOTICE = HEAD + b"\nHi. This is the mail program at mx.example.net.\n\n"
FAILED = b"<u%d@example.com>:\n550 5.1.1 No such user here.\n\n"


def test_every_recipient_of_a_long_notice_is_read() -> None:
    raw = NOTICE + b"".join(FAILED % number for number in range(4500))
    assert [reply.recipient for reply in mail.read(raw)] == [f"u{number}@example.com" for number in range(4500)]


@pytest.mark.parametrize(
    ("kind", "end"), [(b"", b"\n"), (b"Content-Type: text/html\n", b"<br>\n"), (b"Content-Transfer-Encoding: quoted-printable\n", b"\n")]
)
def test_notice_that_is_too_large_says_what_is_missing(kind: bytes, end: bytes) -> None:
    raw = HEAD + kind + b"\n" + b"".join(FAILED % number for number in range(60_000)).replace(b"\n", end)
    *read, last = mail.read(raw, "x.eml")
    assert [reply.recipient for reply in read] == [f"u{number}@example.com" for number in range(len(read))]
    assert last.error == "x.eml: a notice of more than 256 KB; what stands behind that was not read"


def test_what_is_no_notice_may_be_large() -> None:
    original = b"--- Below this line is a copy of the message.\n\nTo: joe@example.com\nSubject: numbers\n\n" + b"one two three\n" * 200_000
    assert [reply.error for reply in mail.read(NOTICE + FAILED % 1 + original)] == [None]
    ordinary = b"From: joe@example.com\nTo: amy@example.net\nSubject: numbers\n\n" + b"one two three\n" * 200_000
    (reply,) = mail.read(ordinary)
    assert (reply.outcome, reply.error, len(reply.text) < 3000) == ("not_a_bounce", None, True)


# --- streams ----------------------------------------------------------------------------------------------------


def test_line_of_two_hundred_megabytes_through_a_pipe() -> None:
    """The line is never stored, here or there."""
    command = (
        f"(echo 552 mailbox full; head -c 200000000 /dev/zero | tr '\\0' x; echo; echo 550 5.1.1 no such user) | {sys.executable} -c '"
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (300 * 2**20,) * 2); from bounceml.cli import main; "
        'sys.exit(main(["predict", "--to", "jsonl", "-"]))\''
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, cwd=ROOT)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, [row["category"] for row in found]) == (3, ["mailbox_full", "unknown", "user_unknown"]), done.stderr
    assert found[1]["error"] == "line 2: a line of more than 1048576 bytes; it was not read"


@pytest.mark.parametrize("broken", ["bomb", "cut off", "not gzip"])
def test_gzip_that_is_no_good(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "lines.gz"
    whole = gzip.compress(
        b"552 mailbox full\n" + (b"\0" * 10**8 if broken == "bomb" else random.Random(7).randbytes(9999)), compresslevel=1
    )
    path.write_bytes({"bomb": whole, "cut off": whole[:-20], "not gzip": b"\x1f\x8b no"}[broken])
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (300 * 2**20,) * 2); from bounceml.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", "--format", "reply", "--to", "jsonl", str(path)], capture_output=True, cwd=ROOT
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 3, done.stderr
    assert found[-1]["error"].startswith(str(path))
    assert [row["category"] for row in found[:-1]][:1] == ([] if broken == "not gzip" else ["mailbox_full"])


# --- broken text ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("charset", ["utf-16", "utf-7", "hz", "punycode", "unicode_escape", "idna", "rot13", "x" * 900, "gb2312", "base64"])
def test_wrong_charset_is_no_error(charset: str) -> None:
    raw = HEAD + f"Content-Type: text/plain; charset={charset}\n\n".encode() + b"<joe@example.com>:\n550 5.1.1 No such user \xff\xfe\x80\n"
    assert all(reply.error is None and reply.text for reply in mail.read(raw))


@pytest.mark.parametrize("cut", range(1, 12))
def test_truncated_base64_gives_what_is_there(cut: int) -> None:
    body = base64.b64encode(b"<joe@example.com>:\n550 5.1.1 No such user here\n")[:-cut]
    (reply,) = mail.read(HEAD + b"Content-Transfer-Encoding: base64\n\n" + body)
    assert reply.recipient == "joe@example.com"
    assert reply.text.startswith("550 5.1.1 No such")


def test_nul_bytes_part_no_words() -> None:
    (reply,) = mail.read(HEAD + b"\n<joe@example.com>:\n550 5.1.1 No such\0 user\n")
    assert Classifier.load().classify(reply).category == "user_unknown"


# --- injection --------------------------------------------------------------------------------------------------

ENDS = ["\r\n", "\n", "\r", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", '"', ",", '",\n']


@pytest.mark.parametrize("end", ENDS)
def test_no_address_breaks_a_row(end: str) -> None:
    evil = f"joe@example.com{end}Bcc: amy@example.com"
    verdict = Classifier.load().classify(Reply(f"550 {evil}", id=evil, source=evil, recipient=evil, columns={evil: evil}))
    lines, table = (written(to, [verdict] * 2) for to in ("jsonl", "csv"))
    assert [json.loads(line)["recipient"] for line in lines.splitlines()] == [evil] * 2
    found = list(csv.DictReader(io.StringIO(table, newline="")))
    assert [(row["recipient"], row[evil], row["model"]) for row in found] == [(evil, evil, verdict.model)] * 2
    if end != "\0":  # no program's text
        assert [row["recipient"] for row in rows_of(table)] == [evil.replace("\r\n", "\n").replace("\r", "\n")] * 2


def rows_of(table: str) -> list[dict[str, str]]:
    """The rows as a reader sees them that takes CR for a line's end."""
    return list(csv.DictReader(io.StringIO(table, newline=None)))


@pytest.mark.parametrize("end", [b"=0D=0A", b"%0D%0A", b"\r", b"+0D+0A", b"\\x{D}\\x{A}"])
def test_line_ends_in_the_address_of_a_report(end: bytes) -> None:
    raw = REPORT + b"Final-Recipient: rfc822; joe@example.com" + end + b"Bcc: amy@example.com\nAction: failed\nStatus: 5.1.1\n"
    assert [reply.error for reply in mail.read(raw)] == [None]
    assert all("\n" not in (reply.recipient or "") and "\r" not in (reply.recipient or "") for reply in mail.read(raw))


def test_csv_with_bare_cr_and_nul() -> None:
    lines = [b"id,text\r1,552 mailbox full\r2,550 no\0 such user\r\n", b"3,552 mailbox full\n"]
    assert [(reply.id, reply.error) for reply in rows.read_csv(lines, None, None)] == [("1", None), ("2", None), ("3", None)]


# --- work grows with the input, not faster ----------------------------------------------------------------------

# What a pattern with two ways to match may take for ever on.
UNITS = ["-", " ", "a ", "a.", "1", "1.", "<", "@", "a@b.", "550-", "550 5.1.1 ", "\n", "\r\n", "to ", "(", "expired <", "last error ",
         "：", "try again ", "5.4.7 ", "=?", "<a@b.cd> ", "a:", "::", "_", "邮箱", "x-", "http://", "status=", '"', "*",
         "not ", "user "]  # fmt: skip
HEADS = ["", "550 5.1.1 ", "Nov  3 10:00:00 mx postfix/smtp[7]: 4F2A91C0: to=<joe@example.com>, relay=none, status=bounced ("]


def judged(given: str) -> None:
    for remembered in (text._seen, text._long_wording):
        remembered.cache_clear()
    reading = text.read(Reply(given))
    list(rules.rule_votes(reading.template))
    list(rules.provider_votes(reading.named))
    for category in tables.taxonomy().categories:
        details.find.__wrapped__(text.normalise(given), category, "en", False)


WORK: dict[str, Callable[[str], object]] = {
    "text and rules": judged,
    "logs": logs.read_line,
    "mail": lambda given: mail.read(HEAD + b"\n<joe@example.com>: " + given.encode()),
    "report": lambda given: mail.read(REPORT + b"Final-Recipient: rfc822; a@b.cd\nDiagnostic-Code: " + given.encode()),
    "html": decode.from_html,
    "recognise": lambda given: parsing.recognise(given.encode()[: containers.HEAD]),
}
SHORT = 1500


@pytest.mark.parametrize("kind", WORK)
def test_work_is_linear(kind: str) -> None:
    """The input twice as long takes less than three times as long; what takes no time at all is not measured."""
    work, slow = WORK[kind], []
    for head in HEADS if kind == "logs" else HEADS[:1]:
        for unit in UNITS:
            once, twice = (seconds(work, head + unit * (size // len(unit))) for size in (SHORT, 2 * SHORT))
            if twice > max(0.02, 3 * once):
                slow.append((head[:4], unit, once, twice))
    assert not slow


def seconds(work: Callable[[str], object], given: str) -> float:
    taken = []
    for _ in range(2):
        begin = time.process_time()
        work(given)
        taken.append(time.process_time() - begin)
        if taken[0] > 0.1:
            break
    return min(taken)
