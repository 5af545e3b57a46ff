"""What real servers wrote, for causes known by construction (lab/README.md): the readers must find recipient and outcome."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, rows

from bounceml.parsing import mail
from bounceml.values import Reply

LAB = Path(__file__).parent / "lab"
MAILS = rows(LAB / "mails.jsonl")
REPLIES = rows(LAB / "replies.jsonl")
LOGS = [row for row in REPLIES if row["form"] == "log"]


def right(row: dict[str, Any], replies: list[Reply]) -> bool:
    """Whether one of the replies has the row's recipient and outcome.

    A report of a message that expired says "failed" (RFC 3464 has no other word), so a reader may leave it at that.
    """
    outcomes = {row["outcome"]} | ({"failed"} if row["outcome"] == "expired" else set())
    return any(
        reply.outcome in outcomes and (row["recipient"] is None or row["recipient"] in (reply.recipient, reply.original_recipient))
        for reply in replies
    )


def wrong_mails() -> list[str]:
    named = defaultdict(list)
    for row in MAILS:
        named[row["mail"]].append(row)
    return [
        f"{name}: {row['recipient']} {row['outcome']}, not {[(reply.recipient, reply.outcome) for reply in replies]}"
        for name, wanted in named.items()
        for replies in [mail.read((LAB / "mails" / name).read_bytes(), name)]
        for row in wanted
        if not right(row, replies)
    ]


def wrong_logs() -> list[str]:
    logs = pytest.importorskip("bounceml.parsing.logs")
    return [
        f"{row['id']}: {row['recipient']} {row['outcome']}, not {[(reply.recipient, reply.outcome) for reply in replies]}"
        for row in LOGS
        for replies in [logs.read_line(row["text"]) or []]
        if not right(row, replies)
    ]


def test_recipient_and_outcome_of_mails() -> None:
    wrong = wrong_mails()
    assert len(wrong) <= 0.01 * len(MAILS), "\n".join(wrong)


def test_recipient_and_outcome_of_log_lines() -> None:
    wrong = wrong_logs()
    assert len(wrong) <= 0.01 * len(LOGS), "\n".join(wrong)


def test_there_is_enough() -> None:
    assert len({row["mail"] for row in MAILS}) >= 60
    assert len({row["server"] for row in MAILS}) >= 3
    assert len(REPLIES) >= 150
    assert len(LOGS) >= 70
    assert len({row["id"] for row in REPLIES}) == len(REPLIES)


def test_every_mail_has_its_rows() -> None:
    assert {path.name for path in (LAB / "mails").glob("*.eml")} == {row["mail"] for row in MAILS}
    assert max(Counter((row["mail"], row["recipient"]) for row in MAILS).values()) == 1


# What the lab is there for.
CAUSES = """
    user_unknown mailbox_full message_too_big relay_denied dnsbl_listed greylisted auth_failure helo_or_rdns host_unknown no_mx
    connection_refused network_timeout loop_detected too_many_recipients tls_required content_rejected virus login_required
    sender_domain_invalid rate_limited concurrency_limited mailbox_disabled system_error protocol_error
"""


@pytest.mark.parametrize("category", CAUSES.split())
def test_every_cause_is_there(category: str) -> None:
    assert category in {row["category"] for row in MAILS}
    assert category in {row["category"] for row in REPLIES}


def test_nothing_of_the_machine_is_there() -> None:
    own = re.compile(re.escape(str(ROOT)).encode() + rb"|/var/tmp/|EICAR-STANDARD")
    files = [*LAB.glob("*.jsonl"), *(LAB / "mails").glob("*.eml")]
    assert not [path.name for path in files if own.search(path.read_bytes())]
