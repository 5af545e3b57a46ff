"""What the readers of the mail logs share."""

from __future__ import annotations

import re
from functools import cache

from bounceml.values import Reply

_STATUS = re.compile(r"\bdsn=([245]\.\d{1,3}\.\d{1,3})\b")
_RCPT = re.compile(r"RCPT TO:\s{0,4}<([^<>]{1,400})>", re.IGNORECASE)


def by_code(reply: str) -> str:
    """Return the outcome that a refusal states by its first digit (RFC 5321 section 4.2.1); unknown where it has none.

    >>> by_code("550 5.1.1 No such user"), by_code("4.7.1 Try later"), by_code("all ports busy")
    ('failed', 'delayed', 'unknown')
    """
    return {"4": "delayed", "5": "failed"}.get(reply[:1], "unknown")


def address(given: str | None) -> str | None:
    """Return an address without brackets, or None for what is no mail address: nothing, a pipe, a file, a list."""
    bare = (given or "").strip().strip("<>")
    return None if not bare or bare == "-" or bare.startswith(("|", "/", ":", '"|', '"/', '":')) else bare


def status(fields: str) -> str | None:
    """Return the enhanced status code of a ``dsn=`` field."""
    found = _STATUS.search(fields)
    return found[1] if found else None


@cache
def _host_field(name: str) -> re.Pattern[str]:
    return re.compile(rf"\b{name}=([A-Za-z0-9](?:[A-Za-z0-9-]*\.)+[A-Za-z][A-Za-z0-9-]*)")


def host(fields: str, name: str) -> str | None:
    """Return the host of a field in lower case, or None for what is no host name: an address literal, a socket, ``none``.

    >>> host(" relay=MX.example.net[192.0.2.1]:25, delay=1", "relay"), host(" relay=none, delay=1", "relay")
    ('mx.example.net', None)
    """
    found = _host_field(name).search(fields)
    return found[1].lower() if found else None


def commanded(text: str) -> str | None:
    """Return the address of the RCPT command that a text tells of."""
    found = _RCPT.search(text)
    return found[1] if found else None


def cut_off(program: str, missing: str, recipient: str | None = None) -> list[Reply]:
    """Return the answer to a delivery line that ends too early; syslog daemons cut lines at 1 or 8 KiB (RFC 3164 section 4.1)."""
    return [Reply("", recipient=recipient, error=f"a delivery line of {program} that ends before its {missing}; was it cut off?")]
