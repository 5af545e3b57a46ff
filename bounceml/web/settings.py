"""What the one who runs the service decides; the command line fills it, and hands it to each worker process."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple


class Settings(NamedTuple):
    """How the service runs.

    Parameters
    ----------
    model, policy, rules
        As in ``Classifier.load``; None for what ships with the package.
    add_to
        The file of labelled replies that corrections are appended to; None: no corrections are taken.
    token
        What a client has to show as ``Authorization: Bearer …`` (or a browser as password); None: nothing.
    max_bytes
        Largest body of a request.
    max_rows
        Most replies that one request is answered on.
    timeout
        Seconds that each part of a body may take to come (all of it ten times as long), then the request until its answer begins, and each
        part of the answer until the client has taken it.
    concurrency
        Requests that a worker process works on at one time; more are answered 503. The bodies of four times as many may be on their way.
    host
        The address that the service listens on.
    names
        Host names that the service is called by, such as that of a reverse proxy.
    rate
        Requests a second that a worker process takes from one client that is not this machine; 0: any number.
    state
        The folder that the worker processes of one service share (see ``served``); None: the only process makes one of its own.

    """

    model: Path | None = None
    policy: Path | None = None
    rules: Path | None = None
    add_to: Path | None = None
    token: str | None = None
    max_bytes: int = 32 * 2**20
    max_rows: int = 200_000
    timeout: float = 30.0
    concurrency: int = 64
    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    rate: float = 100.0
    state: Path | None = None

    @property
    def on_loopback(self) -> bool:
        """Whether only programs on this machine can reach the service."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine's own (RFC 6761 section 6.3; RFC 1122 section 3.2.1.3; RFC 4291 section 2.5.3).

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("example.com")
    (True, True, True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
