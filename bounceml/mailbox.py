"""A bounce mailbox on an IMAP server. Nothing on the server changes unless the caller asks for it, mail by mail.

IMAPClient is the library, as it hands over raw mails, their sizes beforehand, UIDVALIDITY and an atomic MOVE.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

from bounceml import parsing
from bounceml.errors import InputError, UsageError
from bounceml.parsing import containers
from bounceml.values import Reply

if TYPE_CHECKING:
    from imapclient import IMAPClient

PASSWORD = "BOUNCEML_IMAP_PASSWORD"
_PORTS = {"imap": 143, "imaps": 993}
_TIMEOUT = 60.0  # seconds without a word from the server
_ASKED_AT_ONCE = 100  # mails
_FETCHED_AT_ONCE = 8 * 2**20  # bytes; the time of a small mail on a slow line is that of the question, so several go in one


class Address(NamedTuple):
    """Where a mailbox is. ``user`` may be empty; then ~/.netrc names it."""

    secure: bool
    host: str
    port: int
    user: str
    folder: str

    @property
    def url(self) -> str:
        """The address without what is secret, as ``Reply.source`` has it (RFC 5092)."""
        user = quote(self.user, safe="") + "@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'imaps' if self.secure else 'imap'}://{user}{host}:{self.port}/{quote(self.folder)}"


def address(url: str) -> Address:
    """Take an address apart.

    Raises
    ------
    UsageError
        Where there is no host, or a password: others would see it in the list of processes.

    Examples
    --------
    >>> address("imaps://joe%40example.com@mail.example.com/Bounces")
    Address(secure=True, host='mail.example.com', port=993, user='joe@example.com', folder='Bounces')

    """
    try:
        parts: SplitResult = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise UsageError(f"{url.partition('@')[2] or url}: no address of a mailbox; write imaps://USER@HOST/FOLDER") from None
    if parts.password is not None:
        raise UsageError(f"a password in an address is seen by others; put it into {PASSWORD} or ~/.netrc")
    if not parts.hostname:
        raise UsageError(f"{url}: names no host; write imaps://USER@HOST/FOLDER")
    folder = unquote(parts.path.strip("/")) or "INBOX"
    return Address(parts.scheme == "imaps", parts.hostname, port, unquote(parts.username or ""), folder)


def credentials(where: Address) -> tuple[str, str]:
    """Return user and password: from the environment, else from ~/.netrc.

    Raises
    ------
    UsageError
        Where one of them is found nowhere.

    """
    user, password = where.user, os.environ.get(PASSWORD)
    if not (user and password):
        import netrc

        try:
            found = netrc.netrc().authenticators(where.host)
        except (OSError, netrc.NetrcParseError):
            found = None
        if found and user in ("", found[0]):
            user, password = found[0], password or found[2]
    if not (user and password):
        what = "password" if user else "user"
        raise UsageError(f"no {what} for {where.url}; set {PASSWORD}, or add the host to ~/.netrc")
    return user, password


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _trouble(where: Address) -> Iterator[None]:
    """Turn what the server or the network refuses into one sentence."""
    from imapclient.exceptions import IMAPClientError

    try:
        yield
    except (IMAPClientError, OSError, UnicodeError) as error:
        said = str(error).removeprefix("b'").removesuffix("'")
        raise InputError(f"{where.url}: {said or type(error).__name__}; the same command goes on from here") from None


def _connect(where: Address) -> IMAPClient:
    from imapclient import IMAPClient

    client = IMAPClient(where.host, where.port, ssl=where.secure, timeout=_TIMEOUT)
    if not where.secure and not _is_loopback(where.host):
        if not client.has_capability("STARTTLS"):
            client.shutdown()
            raise UsageError(f"{where.url}: the server offers no encryption there, so no password is sent; try imaps://")
        client.starttls()
    return client


def _login(client: IMAPClient, user: str, password: str) -> None:
    if client.has_capability("AUTH=PLAIN"):  # LOGIN cannot carry a password like "schön" (RFC 9051 section 6.2.3)
        client.sasl_login("PLAIN", lambda _: f"\0{user}\0{password}".encode())
    else:
        client.login(user, password)


class Mailbox:
    """One folder of an IMAP server, from ``with`` to its end.

    Parameters
    ----------
    url
        ``imap://USER@HOST:PORT/FOLDER`` or ``imaps://…``. Without the s, the connection is encrypted by STARTTLS unless
        the host is this one.
    done
        What ``settle`` does to a mail: ``seen`` flags it, ``move:FOLDER`` moves it. Without, the folder is opened
        read-only. With ``seen``, mails flagged already are left out.

    """

    def __init__(self, url: str, done: str | None = None) -> None:
        self._where = address(url)
        self._seen = done == "seen"
        self._target = done.removeprefix("move:") if done and done.startswith("move:") else None
        self._read_only = done is None
        self._uids: list[int] = []
        self._position: dict[int, int] = {}
        self._bodies: dict[int, bytes | None] = {}
        self.validity = ""

    def __enter__(self) -> Self:
        """Log in and open the folder."""
        try:
            import imapclient  # noqa: F401  (only to see whether it is there)
        except ImportError:
            raise UsageError("mailboxes need a package more; install it with: pip install 'bounceml[imap]'") from None
        user, password = credentials(self._where)
        with _trouble(self._where):
            self._client = _connect(self._where)
        try:
            with _trouble(self._where):
                _login(self._client, user, password)
                self._open()
        except BaseException:
            self._client.shutdown()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        """Log out; a server that is gone by now does not matter."""
        from imapclient.exceptions import IMAPClientError

        try:
            self._client.logout()
        except (IMAPClientError, OSError):
            self._client.shutdown()

    def _open(self) -> None:
        where = self._where
        if self._target is not None:
            if not self._client.has_capability("MOVE"):  # copying and deleting (RFC 6851 section 1) may leave a mail twice
                raise UsageError(f"{where.url}: the server cannot move mails; use --imap-done seen")
            if self._target == where.folder or not self._client.folder_exists(self._target):
                raise UsageError(f"{where.url}: no other folder {self._target!r} to move mails to; create it")
        told = self._client.select_folder(where.folder, readonly=self._read_only)
        if b"READ-ONLY" in told and not self._read_only:
            raise UsageError(f"{where.url}: this user may not change the folder; leave out --imap-done")
        self.validity = str(told.get(b"UIDVALIDITY", ""))

    def uids(self) -> list[int]:
        """Return the mails of the folder by their unique identifiers, which grow (RFC 9051 section 2.3.1.1)."""
        with _trouble(self._where):
            self._uids = sorted(self._client.search(["UNDELETED", "UNSEEN"] if self._seen else ["UNDELETED"]))
        self._position = {uid: position for position, uid in enumerate(self._uids)}
        return self._uids

    def replies(self, uid: int) -> Iterator[Reply]:
        """Yield the replies of one mail; it is fetched now, and the next ones with it."""
        source = f"{self._where.url};UIDVALIDITY={self.validity}/;UID={uid}"
        if uid not in self._bodies:
            with _trouble(self._where):
                self._bodies = self._fetched(uid)
        if uid in self._bodies:
            yield from parsing.read_mail(self._bodies.pop(uid), source)
        else:
            yield Reply("", source=source, error=f"{source}: no longer in the folder; another program took it out")

    def _fetched(self, uid: int) -> dict[int, bytes | None]:
        start = self._position[uid]
        asked = self._uids[start : start + _ASKED_AT_ONCE]
        sizes = {found: data[b"RFC822.SIZE"] for found, data in self._client.fetch(asked, ["RFC822.SIZE"]).items() if found in asked}
        bodies: dict[int, bytes | None] = {}
        together: list[int] = []
        total = 0
        for found in sorted(sizes):
            if sizes[found] > containers.MAX_MAIL:
                bodies[found] = None
                continue
            total += sizes[found]
            if together and total > _FETCHED_AT_ONCE:
                break
            together.append(found)
        if together:
            # PEEK leaves the mail unseen (RFC 9051 section 6.4.5).
            fetched = self._client.fetch(together, ["BODY.PEEK[]"])
            bodies.update((found, data[b"BODY[]"]) for found, data in fetched.items() if data.get(b"BODY[]") is not None)
        return bodies

    def settle(self, uids: list[int]) -> None:
        """Flag or move mails whose verdicts are safe."""
        with _trouble(self._where):
            for start in range(0, len(uids), _ASKED_AT_ONCE):
                some = uids[start : start + _ASKED_AT_ONCE]
                if self._target is not None:
                    self._client.move(some, self._target)
                elif self._seen:
                    self._client.add_flags(some, [rb"\Seen"], silent=True)
