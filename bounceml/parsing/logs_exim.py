"""Lines of Exim's main and reject logs.

Source: Exim specification, chapter "Log files": sections "Logging message reception", "Logging deliveries", "Deferred
deliveries", "Delivery failures" and "Summary of fields in log lines".
"""

from __future__ import annotations

import re

from bounceml.parsing.logs_common import address, commanded, cut_off, host
from bounceml.values import Reply

# Message ids before and since Exim 4.97.
_ID = r"[0-9A-Za-z]{6}-(?:[0-9A-Za-z]{6}-[0-9A-Za-z]{2}|[0-9A-Za-z]{11}-[0-9A-Za-z]{4})"
_STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?(?: [+-]\d{4})?(?: \[\d+\])? "
_LINE = re.compile(rf"(?P<tag>.{{0,120}}?\bexim\d?(?:\[\d+\])?: )?(?P<stamp>{_STAMP})?(?:(?P<id>{_ID}) )?(?P<rest>.*)", re.DOTALL)
_FAILED, _DEFERRED, _ARRIVED = "** ", "== ", ("=> ", "-> ", ">> ")

_HEAD = 2000  # characters that an address and its fields may take
# An address, the one it came from, then fields ("R=dnslookup"), "defer (-44)" or the end.
_ADDRESS = re.compile(r"(?P<to>.*?)(?: \([^()]{0,400}\))?(?: <(?P<original>[^<>]{0,400})>)?(?= [A-Za-z]{1,4}=| (?:routing )?defer \(|$)")
# The fields end at the first colon and blank outside of quotes, such as those of DN="…".
_FIELDS = re.compile(r'((?:"[^"]*"|:(?! )|[^":])*): (.*)', re.DOTALL)
_DEFER = re.compile(r" ((?:routing )?defer \(-?\d+\).*)", re.DOTALL)
_CONFIRMED = re.compile(r' C="((?:[^"\\]|\\.)*)"')
_REFUSED = re.compile(
    r" (?P<temporary>temporarily )?(?P<what>rejected [^:]{1,80}?(?:<[^<>]{0,400}>)?[^:<>]{0,80})(?:: (?P<text>.*)|$)", re.DOTALL
)
_CLIENT = re.compile(r"(?:^|\s)[HU]=|\[[0-9a-fA-F.:]{3,45}\]")
# Trouble with one host or client; no result of a delivery.
_TROUBLE = re.compile(
    r"SMTP error from remote mail server .*|SMTP timeout .*|Connection (?:refused|timed out|reset by peer).*|No route to host.*"
    r"|Network is unreachable.*|Remote host closed connection .*|\bauthenticator failed .*",
    re.DOTALL,
)


def read(line: str) -> list[Reply] | None:
    """Return the results that a line reports, an empty list where it reports none, None where it is not of Exim."""
    match = _LINE.match(line)
    if match is None:
        return None
    rest, known = match["rest"], bool(match["tag"] or match["id"])
    if (known or not match["stamp"]) and rest[:3] in (_FAILED, _DEFERRED, *_ARRIVED) and (known or " R=" in rest or " T=" in rest):
        return _delivery(rest[:3], rest[3:])
    if not known and not (match["stamp"] and _CLIENT.search(rest[:_HEAD])):
        return None
    return _refusal(rest) or _other(rest)


def _delivery(flag: str, rest: str) -> list[Reply]:
    split = _FIELDS.match(rest) if flag in (_FAILED, _DEFERRED) else None
    fields = (split[1] if split else rest)[:_HEAD]
    found = _ADDRESS.match(fields)
    to, original = (address(found["to"]), address(found["original"])) if found else (None, None)
    if original and (to is None or "@" not in to):  # "joe <joe@example.com>": a local delivery
        to, original = original, None
    reply = Reply("", recipient=to, original_recipient=original, host=host(fields, "H"))
    if flag in _ARRIVED:
        confirmed = _CONFIRMED.search(rest)
        return [reply._replace(text=confirmed[1] if confirmed else rest.strip(), outcome="delivered")]
    if split:
        text = split[2]
    elif flag == _DEFERRED and (deferred := _DEFER.search(rest)):
        text = deferred[1]
    else:
        return cut_off("Exim", "reason", to)
    # "retry timeout exceeded" says that the message, or its host, was tried until the time ran out.
    given_up = flag == _FAILED and "retry timeout exceeded" in text
    return [reply._replace(text=text, outcome="expired" if given_up else "failed" if flag == _FAILED else "delayed")]


def _refusal(rest: str) -> list[Reply] | None:
    """What Exim as a server told the client: "H=… F=<…> rejected RCPT <…>: reason"."""
    start = rest.find("rejected ")
    if start < 1:
        return None
    start = start - len("temporarily ") if rest[:start].endswith(" temporarily ") else start
    match = _REFUSED.match(rest, start - 1)
    if match is None:
        return None
    recipient = re.search(r"RCPT <([^<>]+)>", match["what"])
    outcome = "delayed" if match["temporary"] else "failed"
    return [Reply(match["text"] or match["what"], recipient=address(recipient[1]) if recipient else None, outcome=outcome)]


def _other(rest: str) -> list[Reply]:
    if rest.startswith("Frozen"):  # it stays on the queue until somebody thaws it
        return [Reply(rest, outcome="delayed")]
    if rest.startswith("<= "):
        return []
    trouble = _TROUBLE.search(rest)
    return [Reply(trouble[0], recipient=commanded(trouble[0]))] if trouble else []
