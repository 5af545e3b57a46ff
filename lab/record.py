"""Turns what a run left behind into test data: tests/lab/mails/, mails.jsonl and replies.jsonl.

The cause of a row is that of its scenario, known by construction, never read from the text. What a server itself says
(which recipients a report is about, and whether it gave up) is taken from the fields that it wrote.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loglines
import wire
from causes import Causes, Scenario

# Of what differs from mail to mail in a line only, a few of each server are enough; of mails that do not tell their cause, one of each.
KEPT_PER_SERVER = {"delayed": 12, "vague": 4, "large": 1, "delivered": 3}
LARGE = 50_000  # bytes: OpenSMTPD sends the whole message back, whatever RET says
_ARRIVED = ("delivered", "relayed", "expanded")
_EICAR = b"EICAR-STANDARD-ANTIVIRUS-TEST" + b"-FILE"
_FINAL = re.compile(r"^Final-Recipient: *[\w-]+; *(.+)\n", re.IGNORECASE | re.MULTILINE)
_ORIGINAL = re.compile(r"^Original-Recipient: *[\w-]+; *(.+)\n", re.IGNORECASE | re.MULTILINE)
_ACTION = re.compile(r"^Action: *(\w+)", re.IGNORECASE | re.MULTILINE)
# What this machine must not leave in a mail or line.
_OWN = re.compile(rf"{re.escape(str(Path(__file__).resolve().parents[1]))}|/var/tmp/|bounceml|\b{re.escape(platform.node())}\b")

Row = dict[str, Any]
Reported = list[tuple[str, str]]  # recipient, action


def server_of(helo: str) -> str:
    """Return which server says HELO with this name."""
    senders = {"alpha": "postfix", "beta": "exim", "gamma": "opensmtpd", "delta": "sendmail"}
    label = helo.split(".")[1]
    return senders.get(label) or wire.SERVERS[wire.addresses()[label + ".example"].rpartition(".")[0]]


def mails(recorded: Path, into: Path, causes: Causes, versions: dict[str, str]) -> Iterator[Row]:
    """Copy the mails worth keeping; yield a row per recipient that they report on."""
    waiting: set[tuple[str, str]] = set()
    kinds: Counter[tuple[str, str]] = Counter()
    seen: dict[str, list[Reported]] = defaultdict(list)
    for line in (recorded / "arrivals.jsonl").read_text(encoding="utf-8").splitlines():
        arrival = json.loads(line)
        raw = (recorded / "mails" / arrival["mail"]).read_bytes().replace(b"\r\n", b"\n")
        text = raw.decode("utf-8", "replace")
        server, to = server_of(arrival["helo"]), arrival["recipients"][0]
        scenario = causes.scenarios.get(to.partition("@")[0])
        reported = _reported(text, scenario) if scenario else []
        if not scenario or not reported or _EICAR in raw or _OWN.search(text):
            print(f"lab: not kept: {arrival['mail']} to {to}", file=sys.stderr)
            continue
        vague = causes.vague(text)
        # OpenSMTPD calls an expired message delayed; Exim and Postfix call it failed.
        waits = reported[0][1] == "delayed" and not (vague and vague.expired)
        gave_up = not waits and bool((server, to) in waiting or (vague and vague.expired) or "retry timeout exceeded" in text)
        stem = f"{server}-{scenario.sender}{'-delayed' if waits else ''}"
        if waits:
            waiting.add((server, to))
        is_of = {"delayed": waits, "large": len(raw) > LARGE, f"vague {scenario.category[0]}": vague is not None}
        if reported in seen[stem] or not _wanted(kinds, server, is_of):
            continue
        seen[stem].append(reported)
        name = f"{stem}{f'-{len(seen[stem])}' if len(seen[stem]) > 1 else ''}.eml"
        (into / name).write_bytes((b"Return-Path: <>\n" if not arrival["sender"] else b"") + raw)
        for recipient, action in reported:
            cause = causes.find(server, to, recipient, text)
            outcome = "expired" if gave_up and action not in _ARRIVED else action
            category, accept = ("not_a_bounce", []) if action in _ARRIVED or not cause else cause
            yield {
                "mail": name,
                "server": versions[server],
                "recipient": recipient,
                "outcome": outcome,
                "category": category,
                "accept": accept,
            }


def _wanted(kinds: Counter[tuple[str, str]], server: str, is_of: dict[str, bool]) -> bool:
    """Count a mail under each kind that it is of; tell whether the server has few enough of them."""
    for kind, holds in is_of.items():
        kinds[server, kind] += holds
        if holds and kinds[server, kind] > KEPT_PER_SERVER.get(kind, 1):
            return False
    return True


def _reported(text: str, scenario: Scenario) -> Reported:
    """Return recipient and action of each block of a report; a lone recipient is the one that we wrote to."""
    found = []
    for block in re.split(r"\n\s*\n", text):
        final, original, action = _FINAL.search(block + "\n"), _ORIGINAL.search(block + "\n"), _ACTION.search(block)
        if final and action:
            named = [field[1].strip() for field in (original, final) if field and field[1].strip() in scenario.to]
            recipient = scenario.to[0] if len(scenario.to) == 1 else named[0] if named else None
            if recipient:
                found.append((recipient, action[1].lower()))
    return found


def replies(recorded: Path, causes: Causes, versions: dict[str, str]) -> Iterator[Row]:
    """Yield the replies seen on the wire, then the log lines, each wording once."""
    for line in (recorded / "wire.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield _reply(
            versions[row["server"]], "reply", row["text"], row["recipient"], loglines.by_code(row["text"]), row["category"], row["accept"]
        )
    for line in (recorded / "refused.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        text, scenario = row["said"].partition(" ")[2], causes.scenarios[row["scenario"]]
        yield _reply(
            versions[row["server"]], "reply", text, scenario.to[0], loglines.by_code(text), scenario.category[0], list(scenario.accept)
        )
    kinds: Counter[tuple[str, str]] = Counter()
    for server, text, recipients, sender, outcome in loglines.read(recorded / "logs"):
        kind = "delivered" if outcome == "delivered" else "vague" if causes.vague(text) else ""
        kinds[server, kind] += 1
        if _OWN.search(text) or (kind and kinds[server, kind] > KEPT_PER_SERVER[kind]):
            continue
        for recipient in recipients:
            cause = causes.find(server, sender, recipient, text)
            if cause and outcome == "delivered":
                yield _reply(versions[server], "log", text, recipient, outcome, "not_a_bounce", [])
            elif cause and cause.category != "not_a_bounce":
                yield _reply(versions[server], "log", text, recipient, outcome, *cause)


def _reply(server: str, form: str, text: str, recipient: str | None, outcome: str, category: str, accept: list[str]) -> Row:
    return {
        "server": server,
        "form": form,
        "text": text,
        "recipient": recipient if recipient and recipient in text else None,
        "outcome": outcome,
        "category": category,
        "accept": accept,
    }


def main() -> None:
    """Read the recorded folder given first, write into the folder given second."""
    recorded, into = Path(sys.argv[1]), Path(sys.argv[2])
    versions = json.loads((recorded / "versions.json").read_text(encoding="utf-8"))
    causes = Causes()
    shutil.rmtree(into / "mails", ignore_errors=True)
    (into / "mails").mkdir(parents=True)
    told = sorted(mails(recorded, into / "mails", causes, versions), key=lambda row: str(row["mail"]))
    _write(into / "mails.jsonl", told)
    _write(into / "replies.jsonl", [{"id": f"lab-{number:03}", **row} for number, row in enumerate(replies(recorded, causes, versions), 1)])


def _write(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"lab: {path}: {len(rows)} rows {dict(Counter(row['server'] for row in rows))}", file=sys.stderr)


if __name__ == "__main__":
    main()
