"""Picks, from the servers' logs, the lines that tell what became of a recipient or why a client was refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

Found = tuple[str, str, list[str | None], str, str]  # server, line, recipients, sender, outcome


def by_code(reply: str) -> str:
    """A 4xx may be tried again, a 5xx not (RFC 5321 section 4.2.1)."""
    return "delayed" if reply.lstrip().startswith("4") else "failed"


_POSTFIX_DELIVERY = re.compile(r" to=<([^>]*)>.* status=(sent|deferred|bounced)\b")
_POSTFIX_REFUSAL = re.compile(r"(?:NOQUEUE|\w+): (?:milter-)?reject: .*?: ([45])\.?\d[\d.]* .*?from=<([^>]*)>(?: to=<([^>]*)>)?")
_POSTFIX_EXPIRY = re.compile(r" from=<([^>]*)>, status=expired")
_EXIM_DELIVERY = re.compile(r"^\S+ \S+ \S+ (\*\*|==|=>|->) (\S+?@\S+?):? ")
_EXIM_REFUSAL = re.compile(r" F=<([^>]*)>.*?\b(temporarily )?rejected (?:RCPT <([^>]*)>|after DATA|MAIL|DATA)")
_OPENSMTPD_DELIVERY = re.compile(r" (?:mta|mda) delivery evpid=.* to=<([^>]*)>.* result=\"?(\w+)")
_OPENSMTPD_END = re.compile(r" (?:relay|delivery): Expire for .* to=<([^>]*)>")
_OPENSMTPD_REFUSAL = re.compile(r"failed-command command=\"(?:MAIL FROM:<([^>]*)>|RCPT TO:<([^>]*)>)?[^\"]*\" result=\"([45])")
_SENDMAIL_DELIVERY = re.compile(r" to=<?([^>,]*)>?,(?: ctladdr=<([^>]*)>)?.* dsn=(\d).* stat=(Sent|Deferred)?")
_TOGETHER = re.compile(r" to=((?:<[^<>]+>,){2,})")  # Sendmail's recipients that shared a fate
_SENDMAIL_REFUSAL = re.compile(r" ruleset=check_\w+, arg1=<([^>]*)>.* reject=([45])")

# What names the sender of a message that a later line calls by its queue id alone.
_QUEUE_ID = {
    "postfix": (re.compile(r"\]: (\w+): from=<([^>]*)>"), re.compile(r"\]: (\w+): ")),
    "exim": (re.compile(r"^\S+ \S+ (\S+) <= (\S+)"), re.compile(r"^\S+ \S+ (\S+) ")),
    "opensmtpd": (re.compile(r" (?:evpid=|Expire for )(\w+):? from=<([^>]*)>"), re.compile(r" (?:evpid=|Expire for )(\w+)")),
    "sendmail": (re.compile(r"\]: (\w+): from=<([^>]*)>"), re.compile(r"\]: (\w+): ")),
}


def _postfix(line: str) -> tuple[str | None, str, str] | None:
    if found := _POSTFIX_DELIVERY.search(line):
        return found[1], "", {"sent": "delivered", "deferred": "delayed", "bounced": "failed"}[found[2]]
    if found := _POSTFIX_EXPIRY.search(line):
        return None, found[1], "expired"
    if found := _POSTFIX_REFUSAL.search(line):
        return found[3], found[2], by_code(found[1])
    return None


def _exim(line: str) -> tuple[str | None, str, str] | None:
    if found := _EXIM_DELIVERY.search(line):
        gave_up = "retry timeout exceeded" in line
        return found[2], "", {"**": "expired" if gave_up else "failed", "==": "delayed"}.get(found[1], "delivered")
    if found := _EXIM_REFUSAL.search(line):
        return found[3], found[1], "delayed" if found[2] else "failed"
    return None


def _opensmtpd(line: str) -> tuple[str | None, str, str] | None:
    if found := _OPENSMTPD_DELIVERY.search(line):
        outcome = {"Ok": "delivered", "TempFail": "delayed", "PermFail": "failed", "Expired": "expired", "Loop": "failed"}.get(found[2])
        return (found[1], "", outcome) if outcome else None
    if found := _OPENSMTPD_END.search(line):
        return found[1], "", "expired"
    if found := _OPENSMTPD_REFUSAL.search(line):
        return found[2], found[1] or "", by_code(found[3])
    return None


def _sendmail(line: str) -> tuple[str | None, str, str] | None:
    if found := _SENDMAIL_REFUSAL.search(line):
        return found[1] if "check_rcpt" in line else None, found[1] if "check_mail" in line else "", by_code(found[2])
    if found := _SENDMAIL_DELIVERY.search(line):
        to = found[1] if "@" in found[1] else found[2] or ""  # a command or file: the address that stands for it
        return to, "", {"Sent": "delivered", "Deferred": "delayed"}.get(found[4], "delayed" if found[3] == "4" else "failed")
    return None


LOGS: dict[str, tuple[str, Callable[[str], tuple[str | None, str, str] | None]]] = {
    "postfix.log": ("postfix", _postfix),
    "exim-mainlog.log": ("exim", _exim),
    "exim-in-mainlog.log": ("exim", _exim),
    "opensmtpd.log": ("opensmtpd", _opensmtpd),
    "sendmail.log": ("sendmail", _sendmail),
}


def read(logs: Path) -> Iterator[Found]:
    """Yield the telling lines of all logs; of lines that differ in names and numbers only, the first."""
    seen: set[tuple[str, str]] = set()
    for name, (server, look) in LOGS.items():
        lines = (logs / name).read_text(encoding="utf-8").splitlines()
        named, called = _QUEUE_ID[server]
        senders = {found[1]: found[2] for line in lines if (found := named.search(line))}
        for line in lines:
            told = look(line)
            if told is None:
                continue
            recipient, sender, outcome = told
            sender = sender or senders.get(found[1] if (found := called.search(line)) else "", "")
            shape = (server, _shape(line))
            # The client of wire.py says things of its own under its names: its replies are recorded there.
            if sender and not sender.endswith("@wire.example") and shape not in seen:
                seen.add(shape)
                together = _TOGETHER.search(line)
                yield server, line, re.findall("<([^<>]+)>", together[1]) if together else [recipient], sender, outcome


def _shape(line: str) -> str:
    """The line without what tells one message, sender or time from another."""
    line = re.sub(r"[\w.+-]+@[\w.-]+", "@", line)
    line = re.sub(r"\b(?:alpha|beta|gamma|delta|wire)(?:\.lost)?\.example", "sender", line)
    return re.sub(r"\w*\d[\w.]*", "#", re.sub(r"^\w{3} +\d+ ", "", line))
