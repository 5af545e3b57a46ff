"""Lines of an OpenSMTPD log.

Source: OpenSMTPD 5.4 to 7.x, ``mta_log`` in mta.c, ``mda_log`` in mda.c, ``queue_log`` in queue.c, ``smtp_reply`` in
smtp_session.c: there is no manual page of the log.
"""

from __future__ import annotations

import re

from bounceml.parsing.logs_common import address, by_code, commanded, cut_off
from bounceml.values import Reply

_OUTCOMES = {
    "ok": "delivered",
    "tempfail": "delayed",
    "permfail": "failed",
    "loop": "failed",
    "expire": "expired",
    "ttl": "expired",
}
_TAG = re.compile(r"(?:^|\s)smtpd(?:\[\d+\])?: ")
_SESSION = re.compile(r"(?:^|\s)[0-9a-f]{16} (?:smtp|mta|mda|bounce) ")
_RESULT = re.compile(r'\bto=<(?P<to>[^>]*)>(?P<fields>.*?) result="?(?P<result>\w+)"?(?: stat=(?P<stat>.*))?', re.DOTALL)
_QUEUE = re.compile(r"\b(?:delivery|relay): (?P<result>\w+) for [0-9a-f]{16}: (?P<fields>.*?), stat=(?P<stat>.*)", re.DOTALL)
_TO = re.compile(r"\bto=<([^>]{0,400})>")
_RCPT = re.compile(r"\brcpt=<([^>]{0,400})>")
_COMMAND = re.compile(r'failed-command command="(?P<command>.*?)" result="(?P<result>.*)', re.DOTALL)
_OLD_COMMAND = re.compile(r'Failed command on session \w+: "(?P<command>.*?)" => (?P<result>.*)', re.DOTALL)
_BAD_INPUT = re.compile(r'bad-input result="(?P<result>.*)', re.DOTALL)
# A refused mail; other commands (AUTH, STARTTLS, noise of scanners) are refused without one. Empty: the connection.
_MAIL_COMMAND = re.compile(r"\s*(?:(?:mail from|rcpt to|data|bdat)\b|$)", re.IGNORECASE)


def read(line: str) -> list[Reply] | None:
    """Return the results that a line reports, an empty list where it reports none, None where it is not of OpenSMTPD."""
    start = line.find("delivery evpid=")
    if start >= 0:
        return _delivery(line, line.find(" to=<", start))
    if ", stat=" in line and (queued := _QUEUE.search(line)):
        found = _TO.search(queued["fields"])
        return [_reply(found[1] if found else "", queued["fields"], queued["result"], queued["stat"])]
    start = max(line.find("failed-command command="), line.find("Failed command on "))
    if start >= 0 and (refused := _COMMAND.match(line, start) or _OLD_COMMAND.match(line, start)):
        text, command = _unquoted(refused["result"]), refused["command"]
        outcome = by_code(text) if _MAIL_COMMAND.match(command) else "unknown"
        return [Reply(text, recipient=address(commanded(command)), outcome=outcome)]
    if "bad-input " in line and (refused := _BAD_INPUT.search(line)):
        return [Reply(_unquoted(refused["result"]))]
    return [] if _TAG.search(line) or _SESSION.search(line) else None


def _delivery(line: str, start: int) -> list[Reply]:
    match = _RESULT.match(line, start + 1) if start >= 0 else None
    if match is None or not match["stat"]:
        found = _TO.search(line)
        return cut_off("OpenSMTPD", "stat", address(found[1]) if found else None)
    return [_reply(match["to"], match["fields"], match["result"], match["stat"])]


def _reply(to: str, fields: str, result: str, stat: str) -> Reply:
    """``rcpt`` is the address before aliases, where it is another one than ``to``."""
    original = _RCPT.search(fields)
    return Reply(
        _unquoted(stat),
        recipient=address(to),
        original_recipient=address(original[1]) if original else None,
        outcome=_OUTCOMES.get(result.lower(), "unknown"),
    )


def _unquoted(value: str) -> str:
    return value.strip().removeprefix('"').removesuffix('"')
