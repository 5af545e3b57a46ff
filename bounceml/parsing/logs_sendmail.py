"""Lines of a Sendmail log.

Source: Sendmail Installation and Operation Guide, section 2.1 "The System Log" (``stat=``, ``dsn=``, ``reject=``);
RELEASE_NOTES of Sendmail 8.16 (``reply=``).
"""

from __future__ import annotations

import re

from bounceml.parsing.logs_common import address, by_code, cut_off, host, status
from bounceml.values import Reply

_TAG = re.compile(r"\b(?:sendmail|sm-mta|sm-msp-queue|sm-acceptingconnections|sm-que)(?:\[\d+\])?: ")
_RECIPIENTS = re.compile(r"to=(?P<to>.*?), (?=[a-z_]+=)")
_CONTROLLING_USER = re.compile(r"\bctladdr=(<[^<>]{1,400}>)")
_REPLY = ", reply="
_STAT = ", stat="
_REJECT = ", reject="
_REJECTED_FOR = re.compile(r"\b(?:ruleset=check_rcpt, arg1=|Milter(?: \([^()]{0,80}\))?: to=)<?([^<>,\s]{1,400})>?,")
_REFUSED = re.compile(r"[0-9A-Za-z]{8,20}: (<(?P<to>[^<>]{1,400})>\.\.\. .+)", re.DOTALL)
_GIVEN_UP = re.compile(r"sender notify: (Cannot send .+|Message could not be delivered .+)", re.DOTALL)
_EXPIRED = ("Message could not be delivered for", "Cannot send message for", "Cannot send message within")


def read(line: str) -> list[Reply] | None:
    """Return the results that a line reports, an empty list where it reports none, None where it is not of Sendmail."""
    tag = _TAG.search(line)
    if tag and (refused := _REFUSED.match(line, tag.end())):
        return [Reply(refused[1], recipient=address(refused["to"]), outcome="failed")]
    if _STAT in line and (replies := _delivery(line)) is not None:
        return replies
    if _REJECT in line and (tag or "ruleset=" in line or "Milter" in line):
        before, _, text = line.partition(_REJECT)
        found = _REJECTED_FOR.search(f"{before},")
        return [Reply(text, recipient=address(found[1]) if found else None, outcome=by_code(text))]
    if tag is None:
        return None
    if " to=" in line and ", delay=" in line and ", mailer=" in line:
        found = _RECIPIENTS.match(line, line.find(" to=") + 1)
        return cut_off("Sendmail", "stat", address(found["to"]) if found else None)
    given_up = _GIVEN_UP.search(line, tag.end())
    return [Reply(given_up[1], outcome="expired")] if given_up else []


def _delivery(line: str) -> list[Reply] | None:
    start = max(line.find(" to="), line.find("\tto="))
    match = _RECIPIENTS.match(line, start + 1) if start >= 0 or line.startswith("to=") else None
    if match is None:
        return None
    fields, _, stat = line[match.end("to") :].rpartition(_STAT)
    fields, _, reply = fields.partition(_REPLY)
    code, text = status(fields), reply.strip() or stat.strip()
    if not text:
        return cut_off("Sendmail", "stat", address(match["to"]))
    outcome = _outcome(stat.strip(), code)
    if outcome == "none":
        return []
    # A program or file that an alias names is no address; whom it stands for is the controlling user.
    alias = _CONTROLLING_USER.search(fields) if match["to"].lstrip('"')[:1] in "|/:" else None
    names = [alias[1]] if alias else match["to"].split(",")
    relay = host(fields, "relay")
    return [Reply(text, recipient=address(one), outcome=outcome, status=code, host=relay) for one in names]


def _outcome(stat: str, code: str | None) -> str:
    """Return what became of the delivery; ``none`` where it was not tried yet."""
    if stat.lower().startswith("queued"):
        return "none"
    if stat.startswith(_EXPIRED):
        return "expired"
    if stat.startswith("Deferred"):
        return "delayed"
    if stat.startswith("Sent") or (code or "").startswith("2"):
        return "delivered"
    return "delayed" if (code or "").startswith("4") else "failed"
