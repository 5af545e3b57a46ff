"""A small scripted client: what receivers say on the wire.

It speaks every scenario that has a receiver of the lab behind it, then the dialogues of dialogues.csv.
"""

from __future__ import annotations

import contextlib
import csv
import smtplib
import socket
import time
from collections.abc import Iterator

import messages
from causes import HERE, Scenario

SOURCE = "127.0.1.9"
SENDER_SIDE = ("hilde", "ines")  # scenarios in which the sender insists, not the receiver
SERVERS = {"127.0.2": "postfix", "127.0.3": "exim", "127.0.4": "opensmtpd", "127.0.5": "sendmail"}


def send_one(address: str, source: str, sender: str, to: str) -> None:
    """Send a plain mail from an address of our choice, to use up a limit."""
    with contextlib.suppress(OSError, smtplib.SMTPException), smtplib.SMTP(address, 25, "desk.example", 5, (source, 0)) as client:
        client.sendmail(sender, [to], b"Subject: first\r\n\r\nfirst\r\n")


class Client:
    """A connection that says what it is told to, and keeps the last reply as it came."""

    def __init__(self, address: str, port: int = 25) -> None:
        self.socket = socket.create_connection((address, port), timeout=15, source_address=(SOURCE, 0))
        self.lines = self.socket.makefile("rb")
        self.reply = self.read()

    def read(self) -> str:
        """Read a reply, all of its lines."""
        lines = []
        while line := self.lines.readline().decode("utf-8", "replace").rstrip("\r\n"):
            lines.append(line)
            if line[3:4] != "-":
                break
        return "\n".join(lines)

    def say(self, line: bytes) -> bool:
        """Send a line, read the reply; tell whether the other side agrees."""
        self.socket.sendall(line + b"\r\n")
        self.reply = self.read() or self.reply  # nothing, once the other side hung up
        return self.fine()

    def fine(self) -> bool:
        """Whether the last reply is no refusal."""
        return self.reply.startswith(("2", "3"))

    def close(self) -> None:
        """Leave politely where one still can."""
        with contextlib.suppress(OSError):
            self.socket.sendall(b"QUIT\r\n")
        self.socket.close()


def addresses() -> dict[str, str]:
    """The addresses of zone.txt's domains, by their MX."""
    records: dict[tuple[str, str], str] = {}
    for line in (HERE / "zone.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, kind, data = line.split(None, 2)
            records[name, kind] = data
    return {
        name: records[host, "A"]
        for (name, kind), data in records.items()
        if kind == "MX" and (host := data.split()[-1].rstrip(".")) and (host, "A") in records
    }


def scenario_replies(rows: list[Scenario]) -> Iterator[dict[str, object]]:
    """Speak each scenario to its receiver; yield the refusals, one per recipient."""
    known = addresses()
    for row in rows:
        address = known.get(row.to[0].rpartition("@")[2], "")
        server = SERVERS.get(address.rpartition(".")[0])
        if server is None or len(row.to) > 1 or row.sender in SENDER_SIDE:
            continue
        domain = "wire.lost.example" if row.category == ("sender_domain_invalid",) else "wire.example"
        sender = f"{row.sender}@{domain}"
        try:
            refusal = _deliver(address, sender, row.to[0], messages.make(row.message, sender, row.to[0], "000.wire"))
        except OSError as error:
            print(f"lab: wire: {row.sender}: {error}")
            continue
        if refusal:
            yield {
                "server": server,
                "text": refusal,
                "recipient": row.to[0],
                "category": row.category[0],
                "accept": list(row.accept),
                "why": row.why,
            }


def _deliver(address: str, sender: str, to: str, raw: bytes) -> str | None:
    client = Client(address)
    size = f" SIZE={len(raw)}"
    try:
        offered = client.fine() and client.say(b"EHLO out.wire.example") and "SIZE" in client.reply
        steps = (f"MAIL FROM:<{sender}>{size if offered else ''}", f"RCPT TO:<{to}>", "DATA")
        if client.fine() and all(client.say(step.encode()) for step in steps):
            client.say(raw.replace(b"\r\n.", b"\r\n..") + b".")
        return None if client.fine() else client.reply
    finally:
        client.close()


def dialogue_replies() -> Iterator[dict[str, object]]:
    """Speak the dialogues; yield the last reply of each."""
    with (HERE / "dialogues.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            with contextlib.suppress(OSError):
                reply = _speak(row["address"], int(row["port"]), row["lines"].split("|"))
                if reply.startswith(("4", "5")):
                    kept = {name: row[name] for name in ("server", "category", "why")}
                    yield {**kept, "text": reply, "recipient": row["recipient"] or None, "accept": row["accept"].split()}
                else:
                    print(f"lab: wire: {row['server']} takes {row['why']}: {reply!r}")


def _speak(address: str, port: int, lines: list[str]) -> str:
    client = Client(address, port)
    try:
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "*wait":
                client.reply = client.read()
            elif word == "*barelf":
                client.say(b"Subject: one\r\n\r\ntwo\nthree\r\n.")
            elif word.startswith("*"):
                with contextlib.suppress(OSError):
                    for _ in range(int(word[1:])):
                        client.say(rest.encode())
            else:
                client.say(line.encode())
        if port == 24 and client.fine() and client.say(b"DATA"):
            client.say(b"Subject: one\r\n\r\ntwo\r\n.")
        return client.reply
    finally:
        client.close()
        time.sleep(0.05)  # receivers count connections; let this one end
