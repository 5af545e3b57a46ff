"""What README says about mail servers ("From a mail server"): its script, and its transport on a real Postfix on loopback."""

from __future__ import annotations

import json
import os
import re
import shutil
import smtplib
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT, rows

MAILS = sorted((ROOT / "tests" / "lab" / "mails").glob("*.eml"))[::20]
POSTFIX = shutil.which("postfix", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
USER = "nobody"

# https://www.postfix.org/postconf.5.html ; every path and port is our own.
SETTINGS = """
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
maillog_file = {base}/log
maillog_file_prefixes = {base}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.com
mydestination = example.com
alias_maps =
queue_run_delay = 1s
minimal_backoff_time = 1s
"""
SERVICES = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup  unix       n - n - 0 cleanup
qmgr     unix       n - n 300 1 qmgr
rewrite  unix       - - n - - trivial-rewrite
bounce   unix       - - n - 0 bounce
defer    unix       - - n - 0 bounce
proxymap unix       - - n - - proxymap
error    unix       - - n - - error
retry    unix       - - n - - error
anvil    unix       - - n - 1 anvil
postlog  unix-dgram n - n - 1 postlogd
"""


def snippet(path: str) -> str:
    """Return the block of README whose first comment names this file."""
    found = re.search(
        rf"^```\w*\n((?:#!.*\n)?# {re.escape(path)}\b[^`]*)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert found, path
    return found[1]


def script(into: Path, bounceml: str) -> Path:
    """Write README's script, with its paths exchanged for ours."""
    text = snippet("/usr/local/bin/bounceml-pipe").replace("/opt/bounceml/bin/bounceml", bounceml)
    path = into / "bounceml-pipe"
    path.write_text(text.replace("/var/lib/bounceml/", f"{into}/"))
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("code", "told"), [(0, 0), (3, 0), (1, 75), (2, 75), (127, 75), (137, 75)])
def test_only_what_is_answered_is_delivered(tmp_path: Path, code: int, told: int) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nexit {code}\n")
    program.chmod(0o755)
    assert subprocess.run([script(tmp_path, str(program))], input=b"", check=False).returncode == told


def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "verdicts.jsonl").mkdir()
    assert subprocess.run([script(tmp_path, "true")], input=b"", check=False, stderr=subprocess.DEVNULL).returncode == 75


class Server(NamedTuple):
    base: Path
    port: int

    def send(self, raw: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", self.port, "mx.example.net", timeout=20) as client:
            client.sendmail("", ["bounces@example.com"], raw)

    def told(self) -> Counter[tuple[str, str]]:
        path = self.base / "verdicts.jsonl"
        return Counter((row["recipient"], row["outcome"]) for row in (rows(path) if path.is_file() else []))


PATH = f"{ROOT}:{sysconfig.get_path('purelib')}"  # what bounceml needs, for a user who cannot enter our environment


def _python() -> str | None:
    """Return a Python that the mail server's user may run; one in somebody's home is none."""
    for python in (sys.executable, "/usr/bin/python3"):
        command = [
            "env",
            f"PYTHONPATH={PATH}",
            python,
            "-c",
            "import bounceml.cli, chardet, rapidfuzz, sys; sys.exit(sys.version_info < (3, 11))",
        ]
        try:
            if not subprocess.run(command, user=USER, cwd="/", capture_output=True, check=False).returncode:
                return python
        except OSError:
            continue
    return None


@pytest.fixture
def server() -> Iterator[Server]:
    if POSTFIX is None:
        pytest.skip("Postfix is not installed (Debian package postfix)")
    if os.getuid() != 0:
        pytest.skip("only root can start Postfix")
    python = _python()
    if python is None:
        pytest.skip(f"the user {USER} can run no Python here, or not read {ROOT}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = Path(tempfile.mkdtemp(prefix="postfix-"))  # pytest's own folder is closed to other users
    base.chmod(0o755)
    home, config = base / "home", base / "config"
    for folder, owner in {home: USER, config: "root", base / "queue": "root", base / "data": "postfix"}.items():
        folder.mkdir()
        shutil.chown(folder, owner)
    program = base / "bounceml"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={PATH} exec {python} -m bounceml "$@"\n')
    program.chmod(0o755)
    shutil.move(script(home, str(program)), base / "bounceml-pipe")
    service = snippet("/etc/postfix/master.cf").replace("user=bounceml", f"user={USER}").replace("/usr/local/bin", str(base))
    (config / "main.cf").write_text(SETTINGS.format(base=base) + snippet("/etc/postfix/main.cf"))
    (config / "master.cf").write_text(SERVICES.format(port=port) + service)
    try:
        started = subprocess.run([POSTFIX, "-c", config, "start"], check=False, capture_output=True, text=True, timeout=20)
        assert started.returncode == 0, started.stderr + (base / "log").read_text()
        yield Server(home, port)
    finally:
        subprocess.run([POSTFIX, "-c", config, "stop"], check=False, capture_output=True, timeout=20)
        shutil.rmtree(base)


def test_postfix_delivers_each_mail_once(server: Server) -> None:
    command = [sys.executable, "-m", "bounceml", "predict", "--format", "eml", "--to", "jsonl", *map(str, MAILS)]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    wanted = Counter((row["recipient"], row["outcome"]) for row in map(json.loads, done.stdout.splitlines()))
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(server.send, [mail.read_bytes() for mail in MAILS]))
    patience = time.monotonic() + 30
    while server.told() != wanted and time.monotonic() < patience:
        time.sleep(0.2)
    assert server.told() == wanted, (server.base.parent / "log").read_text()
