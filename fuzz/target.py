"""A fuzz target for libFuzzer, through atheris: any bytes get their verdicts, each verdict its row, and none of it takes long.

`make fuzz` runs it. The first byte of an input says what the rest is read as (``FORMS``); the seeds are the mails and logs
of the tests, copied to ``fuzz/corpus`` when it starts. An input that breaks something is written to ``fuzz/crashes``; give
its path to see it again: `python fuzz/target.py fuzz/crashes/crash-…`.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bounceml"]):
    from bounceml import Classifier, parsing, tables
    from bounceml.parsing import (  # noqa: F401  (some are imported late; here they are instrumented)
        containers,
        dsn,
        events,
        logs,
        logs_exim,
        logs_memory,
        logs_opensmtpd,
        logs_postfix,
        logs_powermta,
        logs_qmail,
        logs_sendmail,
        mail,
        notice,
    )
    from bounceml.values import Finding, Reply, verdicts_of
    from bounceml.writers import jsonl, table, text

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
CRASHES = ROOT / "fuzz" / "crashes"
FORMS = {
    "m": "eml",
    "b": "mbox",
    "l": "reply",
    "g": "postfix",
    "e": "events",
    "j": "jsonl",
    "c": "csv",
    "w": "powermta",
    "z": "gzip",
    "a": "auto",
}
_CLASSIFIER = Classifier.load()
_CATEGORIES = tables.taxonomy().categories
_ROWS = 50  # verdicts of one input; more take time and find nothing more


def read(data: bytes) -> list[Reply]:
    """Return the replies in an input, read as its first byte says."""
    form, raw = FORMS.get(chr(data[0]) if data else "", "auto"), data[1:]
    if form == "eml":
        return mail.read(raw)  # not by way of ``parsing.read_mail``, which makes a row of any exception
    file = io.BufferedReader(io.BytesIO(raw))  # type: ignore[arg-type]
    if form == "gzip":
        try:
            raw = containers.unpacked(file, "gzip").read(2**22)
        except OSError:
            return []
        form, file = "auto", io.BufferedReader(io.BytesIO(raw))  # type: ignore[arg-type]
    if form == "auto":
        form = parsing.recognise(raw[: containers.HEAD])
    if form == "parquet":  # pyarrow's own code is not ours to fuzz
        return []
    return list(parsing.read(file, form, "f"))


def check(findings: list[Finding]) -> None:
    """See that each verdict is one, and that each has one row in every format."""
    verdicts = verdicts_of(findings)
    assert all(verdict.category in _CATEGORIES and 0 <= verdict.confidence <= 1 for verdict in verdicts)
    assert not [verdict.error for verdict in verdicts if "please report it" in (verdict.error or "")]
    lines = jsonl.encode(findings).decode().splitlines()
    assert [json.loads(line)["reply"] for line in lines] == [verdict.reply for verdict in verdicts]
    rows = table.begin(findings, header := io.StringIO(newline=""))(findings).decode()
    usual = csv.field_size_limit(2**27)
    found = csv.DictReader(io.StringIO(header.getvalue() + rows, newline=""))
    assert [row["reply"] for row in found] == [verdict.reply for verdict in verdicts]
    csv.field_size_limit(usual)
    text.write([verdicts], io.StringIO(), "zh")


def one(data: bytes) -> None:
    """Read, judge and write one input."""
    check([_CLASSIFIER.find(reply, explained=data[-1:] == b"x") for reply in read(data)[:_ROWS]])


def seed() -> None:
    """Copy the mails and logs of the tests to where the fuzzer begins."""
    CORPUS.mkdir(exist_ok=True)
    CRASHES.mkdir(exist_ok=True)
    samples = [("m", path) for path in sorted((ROOT / "tests" / "mail").glob("*.eml"))]
    samples += [("m", path) for path in sorted((ROOT / "tests" / "lab" / "mails").glob("*.eml"))[::8]]
    logged = sorted((ROOT / "tests" / "logs").glob("*"))
    samples += [("g" if path.suffix == ".log" else "w", path) for path in logged if path.suffix in (".log", ".csv")]
    for sign, path in samples:
        (CORPUS / f"{path.name}.{sign}").write_bytes(sign.encode() + path.read_bytes()[:16_000])
        if sign == "g":
            for number, line in enumerate(path.read_bytes().splitlines()[:40]):
                (CORPUS / f"{path.name}.{number}.l").write_bytes(b"l" + line)
    for number, line in enumerate((ROOT / "tests" / "logs" / "events.jsonl").read_bytes().splitlines()):
        (CORPUS / f"event.{number}").write_bytes(b"e" + line)
    (CORPUS / "table.c").write_bytes(
        b'cid,email,diagnostic\r\n1,joe@example.com,"552 5.2.2 mailbox full, sorry"\r\n2,,550 5.1.1 no such user\r\n'
    )
    (CORPUS / "table.j").write_bytes(
        b'j{"id": 1, "text": "552 \xe9\x82\xae\xe7\xae\xb1\xe5\xb7\xb2\xe6\xbb\xa1", "tags": ["x"]}\n{"x": 1}\n'
    )
    (CORPUS / "box.b").write_bytes(b"bFrom MAILER-DAEMON Thu Jan  1 00:00:00 2026\n" + (ROOT / "tests/mail/qmail.eml").read_bytes())


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # "lines are of no mail log", thousands of times
    seed()
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
