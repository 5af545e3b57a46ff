"""Lines of a Postfix log.

Source: there is no written grammar; the forms are those of Postfix 2.3 to 3.9, described with bounce(8), cleanup(8),
postscreen(8), smtp(8), smtpd(8), milter-reject in MILTER_README, soft_bounce and the address probes in postconf(5).
"""

from __future__ import annotations

import re

from bounceml.parsing.logs_common import address, by_code, cut_off, host, status
from bounceml.values import Reply

_OUTCOMES = {
    "sent": "delivered",
    "bounced": "failed",
    "deferred": "delayed",
    "expired": "expired",
    "force-expired": "expired",
    "undeliverable": "failed",  # address probes, ADDRESS_VERIFICATION_README
    "deliverable": "delivered",
    "softbounce": "delayed",  # soft_bounce = yes keeps what would have bounced
}

_TAG = re.compile(r"\bpostfix[\w.-]{0,40}(?:/[\w.-]{1,40}){1,4}(?:\[\d{1,12}\])?: ")
_DELIVERY = re.compile(
    r"to=<(?P<to>[^>]*)>,(?: orig_to=<(?P<original>[^>]*)>,)?(?P<fields> relay=.*?|.*?) status=(?P<status>[\w-]+)(?: \((?P<text>.*))?",
    re.DOTALL,
)
_CUT_DELIVERY = re.compile(r"to=<(?:(?P<to>[^>]*)>,(?: orig_to=<[^>]*>,)? relay=.*|[^>]*>?,?)", re.DOTALL)
_EXPIRED = re.compile(r"from=<[^>]*>, (status=(?:force-)?expired, .*)", re.DOTALL)
# What was done, at which command, to which client; "RCPT from host[192.0.2.1]: 550 …", "END-OF-MESSAGE: 554 …" of a proxy.
_REFUSAL = re.compile(
    r"\b(?P<action>(?:milter-|proxy-)?reject|reject_warning|warn): "
    r"(?:[A-Z][A-Z-]+(?: from \S+)?: (?P<reply>.*)|(?P<content>\S.*))",
    re.DOTALL,
)
_TO = re.compile(r"\bto=<([^>]{0,400})>")
_CONTENT_REPLY = re.compile(r"; from=<[^>]*> to=<[^>]*>(?: proto=\S+)?(?: helo=<[^>]*>)?: (.*)", re.DOTALL)
# Trouble with one host; another may be tried, and the result follows on a line of its own.
_TROUBLE = re.compile(
    r"(?:[0-9A-Za-z]{6,20}: )?((?:connect to|conversation with|lost connection with) .*"
    r"|host \S+ (?:said|refused to talk to me): .*|SASL authentication failed.*|Cannot start TLS.*|TLS is required.*"
    r"|warning: .{0,400}\bauthentication failed\b.*)",
    re.DOTALL,
)


def read(line: str) -> list[Reply] | None:
    """Return the results that a line reports, an empty list where it reports none, None where it is not of Postfix."""
    if (replies := _delivery(line)) or (replies := _refusal(line)):
        return replies
    tag = _TAG.search(line)
    if tag is None:
        return [] if "NOQUEUE: " in line else None
    if trouble := _TROUBLE.match(line, tag.end()):
        return [Reply(trouble[1])]
    return []


def _delivery(line: str) -> list[Reply] | None:
    start = line.find("to=<")
    match = _DELIVERY.match(line, start) if start >= 0 and "status=" in line else None
    if match is None:
        return _expiry(line) or _cut(line, start)
    if match["text"] is None:
        return cut_off("Postfix", "reply", address(match["to"]))
    reply = Reply(
        match["text"].removesuffix(")"),
        recipient=address(match["to"]),
        original_recipient=address(match["original"]),
        outcome=_OUTCOMES.get(match["status"].lower(), "unknown"),
        status=status(match["fields"]),
        host=host(match["fields"], "relay"),
    )
    return [reply]


def _expiry(line: str) -> list[Reply] | None:
    """The queue manager's word that a message waited too long; it names no recipient."""
    start = line.find("from=<") if "expired, " in line else -1
    match = _EXPIRED.match(line, start) if start >= 0 else None
    return [Reply(match[1], outcome="expired")] if match else None


def _cut(line: str, start: int) -> list[Reply] | None:
    """A delivery line, told by its queue id and agent, that does not reach its status."""
    tag = _TAG.search(line) if start >= 0 else None
    if tag and re.fullmatch(r"[0-9A-Za-z]{6,20}: ", line[tag.end() : start]) and (cut := _CUT_DELIVERY.fullmatch(line, start)):
        return cut_off("Postfix", "status", address(cut["to"]))
    return None


def _refusal(line: str) -> list[Reply] | None:
    """What the SMTP server, a milter or a content check told the client."""
    match = _REFUSAL.search(line)
    if match is None:
        return None
    if match["reply"] is not None:
        text, envelope = _apart(match["reply"])
    else:
        start = match["content"].rfind("; from=<")
        envelope = match["content"][start:] if start >= 0 else ""
        said = _CONTENT_REPLY.match(envelope)
        if said is None:
            return None
        text = said[1]
    found = _TO.search(envelope)
    outcome = by_code(text) if match["action"].endswith("reject") else "unknown"  # a warning lets the mail pass
    return [Reply(text, recipient=address(found[1]) if found else None, outcome=outcome)]


def _apart(reply: str) -> tuple[str, str]:
    """Split a reply from the envelope that the log appends: "; from=<…> to=<…> proto=… helo=<…>"."""
    for mark in ("; from=<", "; to=<", "; proto="):
        start = reply.rfind(mark)
        if start >= 0:
            return reply[:start], reply[start:]
    return reply, ""


# --- what a later line leaves out -------------------------------------------------------------------------------

_QUEUE_ID = re.compile(r"([0-9A-Za-z]{6,20}): (?=to=<|from=<|removed$)")


def queue_id(line: str) -> str | None:
    """Return the queue id of a line about one message."""
    tag = _TAG.search(line)
    found = _QUEUE_ID.match(line, tag.end()) if tag else None
    return found[1] if found else None
