"""A log daemon for one root: what arrives at its /dev/log becomes lines of a file, as rsyslog would write them."""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path

# "<22>Nov 23 14:00:00 postfix/smtp[12]: text", as syslog(3) sends it: no host name.
_MESSAGE = re.compile(r"<\d+>(\w{3} [ \d]\d \d\d:\d\d:\d\d) (?:\S+ (?=\S+\[\d+\]: ))?(.*)", re.DOTALL)


def start(root: Path, host: str, log: Path, *, iso: bool) -> None:
    """Listen in ``root`` from now on; ``iso`` writes time stamps as Debian's rsyslog does since 2023, else as it did before."""
    path = root / "dev" / "log"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(path))
    path.chmod(0o666)
    threading.Thread(target=_write, args=(listener, host, log, iso), daemon=True).start()


def _write(listener: socket.socket, host: str, log: Path, iso: bool) -> None:
    with log.open("a", encoding="utf-8") as file:
        while True:
            message = _MESSAGE.match(listener.recv(65536).decode("utf-8", "replace").rstrip("\n\0"))
            if message:
                now = time.time()
                stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1e6):06d}+00:00" if iso else message[1]
                file.write(f"{stamp} {host} {message[2].replace(chr(10), '#012')}\n")
                file.flush()
