"""Receivers without a mail server behind them: one collects what the lab's servers send back, the others misbehave."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

COLLECTOR = "127.0.0.9"
SILENCE = 20  # seconds; longer than any server of the lab waits


class Arrival(NamedTuple):
    """A mail as it came over the wire: who said HELO, the envelope, the bytes."""

    helo: str
    sender: str
    recipients: tuple[str, ...]
    raw: bytes


class Script(NamedTuple):
    """How a receiver misbehaves: a greeting, then answers by command; None stays silent, "" hangs up."""

    greeting: str | None = "220 mx.lab.example ESMTP"
    answers: Mapping[str, str | None] = MappingProxyType({})


# By the last number of the address, 127.0.6.N (zone.txt has the names).
SCRIPTS = {
    1: Script(greeting=None),
    2: Script(greeting=""),
    3: Script(greeting="HELLO WORLD"),
    4: Script(greeting="421 4.3.2 Service not available, closing transmission channel"),
    5: Script(answers={".": ""}),
    6: Script(answers={"MAIL": "354 go on"}),
    7: Script(answers={".": None}),
    8: Script(answers={"RCPT": "550 5.0.0 Delivery failed for unspecified reasons"}),
    9: Script(answers={"EHLO": "500 5.5.1 Command unrecognized", "HELO": "500 5.5.1 Command unrecognized"}),
    10: Script(answers={"DATA": "503 5.5.1 Bad sequence of commands"}),
    11: Script(answers={"EHLO": None, "HELO": None}),
    12: Script(answers={"RCPT": ""}),
    13: Script(answers={"DATA": "250 go on", ".": "354 go on"}),
}


def _serve(address: str, handle: Callable[[socket.socket], None]) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):  # the other side may go away
                handle(self.request)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        request_queue_size = 100

    threading.Thread(target=Server((address, 25), Handler).serve_forever, daemon=True).start()


def start(arrivals: list[Arrival]) -> None:
    """Open all the addresses; what the collector gets is appended to ``arrivals``."""
    _serve(COLLECTOR, partial(_converse, Script(), arrivals))
    for number, script in SCRIPTS.items():
        _serve(f"127.0.6.{number}", partial(_converse, script, []))


def _converse(script: Script, arrivals: list[Arrival], connection: socket.socket) -> None:
    lines = connection.makefile("rb")
    helo, sender = "", ""
    recipients: list[str] = []

    def say(text: str | None) -> bool:
        if text is None:
            time.sleep(SILENCE)
            return False
        if text == "":
            return False
        connection.sendall(text.encode() + b"\r\n")
        return True

    if not say(script.greeting):
        return
    for line in lines:
        words = line.decode("utf-8", "replace").strip()
        verb = words[:4].upper()
        answer = script.answers.get(verb, "250 2.0.0 Ok")
        if verb in ("EHLO", "HELO"):
            helo = words[5:]
            answer = script.answers.get(verb, "250-collector.example\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 10000000")
        elif verb == "MAIL":
            sender, recipients = _path(words), []
        elif verb == "RCPT":
            recipients.append(_path(words))
        elif verb == "DATA":
            answer = script.answers.get("DATA", "354 End data with <CR><LF>.<CR><LF>")
            if not say(answer):
                return
            if answer and answer.startswith("5"):
                continue
            raw = _data(lines)
            if "." not in script.answers:
                arrivals.append(Arrival(helo, sender, tuple(recipients), raw))
            answer = script.answers.get(".", "250 2.0.0 Ok")
        elif verb == "QUIT":
            say("221 2.0.0 Bye")
            return
        if not say(answer):
            return


def _path(words: str) -> str:
    return words.partition("<")[2].partition(">")[0]


def _data(lines: Iterable[bytes]) -> bytes:
    raw = []
    for line in lines:
        if line.rstrip(b"\r\n") == b".":
            break
        raw.append(line[1:] if line.startswith(b".") else line)
    return b"".join(raw)
