"""A reply with examples in place of what names somebody: addresses, hosts, IP addresses, links, ids and long numbers.

Its template stays the same, for each stands where its like stood: what is learnt from the one is learnt from the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from bounceml import concepts, text

# Names for examples: RFC 2606 section 3, RFC 5737, RFC 3849.
_USER, _DOMAIN, _OTHER_DOMAIN, _HOST = "joe", "example.com", "example.org", "mx.example.net"
_IPV4, _IPV6 = "192.0.2.1", "2001:db8::1"
_ID = "4VTx1k0ABCz7"
# Names that no person has (RFC 2142, and what systems call their own).
_ROLES = frozenset(
    (
        *("abuse", "admin", "administrator", "daemon", "help", "helpdesk", "hostmaster", "info", "mail", "mailer-daemon", "marketing"),
        *("name", "news", "no-reply", "noc", "noreply", "nobody", "orders", "postmaster", "recipient", "root", "sales", "security"),
        *("sender", "server", "shop", "someone", "spam", "support", "sysadmin", "test", "webmaster", "www"),
    )
)

_LONG_NUMBER = re.compile(r"\d{7,}")
_ADDRESS_DOMAIN = re.compile(r"@\[?([^\s<>\"'(),;:\[\]!?]+?)\.?(?=[\]>\s\"'(),;:!?]|$)")
_LOCAL_PART = re.compile(r"([^\s<>\"'(),;:\[\]@]{3,64})@")


def _of_url(url: str) -> str:
    """The words of a link's path stay: they often name the reason."""
    scheme = re.match(r"(?:[a-z]+://)?", url, re.IGNORECASE)
    masked = text.mark(url)
    words = masked.split()[1:]
    listed = bool(words) and words[0].startswith("dnsbl:")
    host = re.sub(r"^[a-z]+://", "", url, flags=re.IGNORECASE).partition("/")[0] if listed else "www.example.com"
    return "/".join([f"{scheme[0] if scheme else ''}{host}", *words[listed:]])


class _Examples:
    """The example for each thing of one reply; the same domain has the same one, as an address or as a host."""

    def __init__(self, reply: str, recipient: str | None) -> None:
        domains = [found.lower() for found in _ADDRESS_DOMAIN.findall(f"{recipient or ''} {reply}")]
        self._domains = dict.fromkeys(domains, _OTHER_DOMAIN) | dict.fromkeys(domains[:1], _DOMAIN)

    def _addr(self, found: str) -> str:
        domain = found.rpartition("@")[2]
        known = self._domains.get(domain.strip("<>[].").lower(), _OTHER_DOMAIN)
        closing = "]" * ("]" in domain and "[" not in domain)  # of a bracket that opens before the address
        return f"{'<' * found.startswith('<')}{_USER}@{known}{closing}{'>' * found.endswith('>')}"

    def _host(self, found: str) -> str:
        if text.mark(found) != "<host>":  # a blocklist
            return found
        return self._domains.get(found.rstrip(".").lower(), _HOST) + "." * found.endswith(".")

    @staticmethod
    def _ip(found: str) -> str:
        return f"{'[' * found.startswith('[')}{_IPV4 if '.' in found else _IPV6}{']' * found.endswith(']')}"

    def of(self, match: re.Match[str]) -> str:
        """Return what stands in place of a thing that ``text.MARKS`` found."""
        kind, found = str(match.lastgroup), match[0]
        instead: dict[str, Callable[[str], str]] = {
            "url": _of_url,
            "addr": self._addr,
            "host": self._host,
            "ip": self._ip,
            "id": lambda _: _ID,
            "num": lambda number: _LONG_NUMBER.sub("1000001", number),
        }
        return instead[kind](found) if kind in instead else found


def _without_users(reply: str, recipient: str | None) -> str:
    """The reply with an example for the users of its addresses where they stand alone, "mailbox joe.smith is full"."""
    for user in {found.lower() for found in _LOCAL_PART.findall(f"{recipient or ''} {reply}")}:
        if user not in _ROLES and not concepts.concepts(user):  # "user@example.com: no such user"
            reply = re.sub(rf"(?<![\w.<@-]){re.escape(user)}(?![\w@-]|\.\w)", _USER, reply, flags=re.IGNORECASE)
    return reply


def reply(original: str, recipient: str | None = None) -> str:
    """Return a normalised reply without what names somebody.

    Parameters
    ----------
    original
        The reply, as ``text.normalise`` returns it.
    recipient
        Whom it is about, where the input tells that.

    >>> reply("550 5.1.1 <ann.lee@corp.cn>: mx1.corp.cn[198.51.100.7] does not know ann.lee (ticket 20261123004)")
    '550 5.1.1 <joe@example.com>: mx.example.net[192.0.2.1] does not know joe (ticket 1000001)'

    """
    examples = _Examples(original, recipient)
    return " ".join(text.MARKS.sub(examples.of, token) for token in _without_users(original, recipient).split())
