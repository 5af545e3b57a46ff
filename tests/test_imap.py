"""A bounce mailbox on a real Dovecot on loopback: nothing changes unasked, and each mail is answered once."""

from __future__ import annotations

import csv
import getpass
import grp
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import conftest
import pytest
from conftest import ROOT

from bounceml import Classifier, mailbox, output
from bounceml.errors import UsageError
from bounceml.parsing import containers
from bounceml.values import Reply, Verdict

pytest.importorskip("imapclient", reason="imapclient is not installed")
DOVECOT = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_dovecot = pytest.mark.skipif(DOVECOT is None, reason="Dovecot is not installed (Debian package dovecot-imapd)")
PASSWORD = "geheim&schön"

# https://doc.dovecot.org/2.3/configuration_manual/ ; every path and port is our own. Dovecot serves nobody's mail as root, nor
# logs in as root, so there it has the users that its package made, and the mails are of "nobody".
CONFIG = """
base_dir = {base}/run
state_dir = {base}/run
protocols = imap
listen = 127.0.0.1
log_path = {base}/log
{users}
first_valid_uid = 0
mail_location = maildir:{base}/mail/%u
ssl = {ssl}
ssl_cert = <{base}/cert.pem
ssl_key = <{base}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login
passdb {{
  driver = static
  args = password={{PLAIN}}{password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={base}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  {chroot}
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls}
  }}
}}
service anvil {{
  {chroot}
}}
"""
NOBODY = 65534


class Server(NamedTuple):
    base: Path
    port: int
    tls: int

    def url(self, user: str, folder: str = "") -> str:
        return f"imap://{user}@127.0.0.1:{self.port}/{folder}"

    def maildir(self, user: str, folder: str = "") -> Path:
        path = self.base / "mail" / user / (f".{folder}" if folder else "")
        for name in ("cur", "new", "tmp"):
            (path / name).mkdir(parents=True, exist_ok=True)
        for made in (self.base / "mail", self.base / "mail" / user, path, *path.iterdir()):
            if made.is_dir() and os.getuid() == 0:
                os.chown(made, NOBODY, NOBODY)
        return path

    def deliver(self, user: str, *mails: str) -> None:
        for number, mail in enumerate(mails):
            path = self.maildir(user) / "new" / f"{1767225600 + number}.M{number}P1.mx"
            path.write_text(mail)
            path.chmod(0o666)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _certificate(base: Path) -> str:
    """Make a certificate where there is a tool for it; return what Dovecot's ``ssl`` is."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return "no"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(base / "key.pem"), "-out", str(base / "cert.pem")]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    return "yes"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    assert DOVECOT is not None
    base = Path(tempfile.mkdtemp(prefix="dovecot-"))  # pytest's own folder is closed to other users
    base.chmod(0o755)
    made = Server(base, _free_port(), _free_port())
    me, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    ours = {
        "users": f"default_internal_user = {me}\ndefault_login_user = {me}\ndefault_internal_group = {group}",
        "chroot": "chroot =",
        "uid": os.getuid(),
        "gid": os.getgid(),
    }
    if os.getuid() == 0:
        ours = {"users": "", "chroot": "", "uid": NOBODY, "gid": NOBODY}
    config = base / "dovecot.conf"
    config.write_text(CONFIG.format(base=base, port=made.port, tls=made.tls, password=PASSWORD, ssl=_certificate(base), **ours))
    process = subprocess.Popen([DOVECOT, "-F", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(made, process)
        yield made
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(base, ignore_errors=True)


def _wait_for(server: Server, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", server.port)).close()
        except OSError:
            assert process.poll() is None, (server.base / "log").read_text()
            time.sleep(0.1)
        else:
            return


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mailbox.PASSWORD, PASSWORD)


def mail(number: int) -> str:
    failed = "".join(f"<u{number}.{n}@example.com>:\n550 5.1.1 No such user {number}\n\n" for n in range(number % 3 + 1))
    return f"From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n\n{failed}\n"


def recipients(count: int) -> list[str]:
    return [f"u{number}.{n}@example.com" for number in range(count) for n in range(number % 3 + 1)]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "bounceml", "predict", "--to", "jsonl", *map(str, arguments)]


def predict(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(*arguments), capture_output=True, check=False, cwd=ROOT, env={**os.environ, **environment})


def answered(path: Path) -> list[str]:
    return [json.loads(line)["recipient"] for line in path.read_text().splitlines()]


def state(folder: Path) -> list[str]:
    """The mails of a Maildir with their flags."""
    return sorted(path.name for name in ("cur", "new") for path in (folder / name).iterdir())


@needs_dovecot
def test_reading_changes_nothing(server: Server) -> None:
    server.deliver("reader", *map(mail, range(5)))
    for _ in range(2):
        done = predict(server.url("reader"))
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [row["recipient"] for row in rows] == recipients(5)
        assert rows[0]["source"].startswith(f"imap://reader@127.0.0.1:{server.port}/INBOX;UIDVALIDITY=")
        assert rows[0]["source"].endswith("/;UID=1")
    assert all(name.endswith((".mx", ":2,")) for name in state(server.maildir("reader")))


@needs_dovecot
def test_seen_mails_are_flagged_after_their_verdicts_and_not_read_again(server: Server, tmp_path: Path) -> None:
    server.deliver("seen", *map(mail, range(5)))
    assert predict(server.url("seen"), "--imap-done", "seen", "-o", tmp_path / "first").returncode == 0
    assert answered(tmp_path / "first") == recipients(5)
    assert all(name.endswith(":2,S") for name in state(server.maildir("seen")))
    assert predict(server.url("seen"), "--imap-done", "seen", "-o", tmp_path / "second").returncode == 0
    assert answered(tmp_path / "second") == []


@needs_dovecot
def test_moved_mails_are_in_the_other_folder(server: Server, tmp_path: Path) -> None:
    server.deliver("mover", *map(mail, range(5)))
    server.maildir("mover", "Bounces-&bElTSg-")  # 汉卷: folder names travel in a UTF-7 of their own (RFC 3501 section 5.1.3)
    out = tmp_path / "out.csv"
    done = predict(server.url("mover"), "--imap-done", "move:Bounces-汉升", "-o", out)
    assert (done.returncode, out.exists()) == (2, False)
    assert b"no other folder 'Bounces-\xe6\xb1\x89\xe5\x8d\x87' to move mails to; create it" in done.stderr
    server.maildir("mover", "Done &- dusted")
    done = predict(server.url("mover"), "--imap-done", "move:Done & dusted", "--to", "csv", "-o", out)
    assert done.returncode == 0, done.stderr
    assert [row["recipient"] for row in csv.DictReader(out.read_text().splitlines())] == recipients(5)
    assert state(server.maildir("mover")) == []
    assert len(state(server.maildir("mover", "Done &- dusted"))) == 5
    before = out.read_bytes()
    again = ("--imap-done", "move:Done & dusted", "--to", "csv", "-o", out)
    assert predict(server.url("mover"), *again).returncode == 0  # nothing to do
    server.deliver("mover", mail(5))
    done = predict(server.url("mover"), *again)
    assert (done.returncode, len(state(server.maildir("mover")))) == (2, 1)
    assert out.read_bytes() == before
    assert b"holds verdicts on mails that are settled already; name another file with -o" in done.stderr


@needs_dovecot
@pytest.mark.parametrize("done", ["seen", "move:Done"])
def test_killed_run_ends_with_each_mail_answered_once(server: Server, tmp_path: Path, done: str) -> None:
    user, count = f"killed-{done.partition(':')[0]}", 500
    server.maildir(user, "Done")
    server.deliver(user, *map(mail, range(count)))
    begin = time.monotonic()
    assert predict(server.url(user)).returncode == 0
    takes = time.monotonic() - begin
    out = tmp_path / "out"
    dice = random.Random(f"20260101{done}")
    kills = half_way = 0
    while True:
        with subprocess.Popen(command(server.url(user), "--imap-done", done, "-o", out), cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(dice.uniform(0.2, 0.8) * takes if kills < 10 else None)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
        if process.returncode != -signal.SIGKILL:
            break
        settled = sum(name.endswith(":2,S") for name in state(server.maildir(user))) + len(state(server.maildir(user, "Done")))
        half_way += 0 < settled < count
        part = tmp_path / "out.part" if not out.exists() else out  # killed on its last way out
        # Whoever is settled has its verdicts in the file, whatever happens next.
        assert settled <= (part.read_bytes().count(b".0@example.com") if part.exists() else 0)
    assert process.returncode == 0
    assert kills
    assert half_way
    assert sorted(answered(out)) == sorted(recipients(count))
    folder = server.maildir(user, "Done" if done != "seen" else "")
    assert len(state(folder)) == count
    if done == "seen":
        assert all(name.endswith(":2,S") for name in state(folder))


@needs_dovecot
def test_mail_that_cannot_be_read_is_an_error_and_stays(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bounceml.cli import main

    monkeypatch.setattr(containers, "MAX_MAIL", 10_000)
    server.deliver("large", mail(0), mail(3) + "x\n" * 6000, mail(6))
    out = tmp_path / "out"
    assert main(["predict", server.url("large"), "--imap-done", "seen", "--to", "jsonl", "-o", str(out)]) == 3
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert "/;UID=2: a mail of more than 0 MB; it was not read" in capsys.readouterr().err
    assert [name.endswith(":2,S") for name in state(server.maildir("large"))] == [True, False, True]


class Killed(BaseException):
    """Stands for the end of the process."""


@needs_dovecot
def test_renumbered_mailbox_is_not_gone_on_with(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "CHECKPOINT_EVERY", 0.0)
    server.deliver("renumbered", *map(mail, range(3)))
    url = server.url("renumbered")

    def dies(reply: Reply) -> Verdict:
        if "user 2" in reply.text:
            raise Killed
        return Classifier.load().classify(reply)

    def run() -> None:
        conftest.answered(tmp_path / "out", {"inputs": [url], "to": "jsonl"}, dies)

    with pytest.raises(Killed):
        run()
    folder = server.maildir("renumbered")
    for index in folder.glob("dovecot.index*"):
        index.unlink()
    uids = folder / "dovecot-uidlist"
    uids.write_text(re.sub(r" V(\d+) ", lambda found: f" V{int(found[1]) + 1} ", uids.read_text(), count=1))
    with pytest.raises(UsageError, match=r"is no longer what .*out.part was written from; delete out.part to start over"):
        run()


@needs_dovecot
def test_encrypted_connection(server: Server) -> None:
    if not (server.base / "cert.pem").exists():
        pytest.skip("openssl is not installed")
    server.deliver("tls", mail(0))
    url = f"imaps://tls@127.0.0.1:{server.tls}/INBOX"
    assert predict(url, SSL_CERT_FILE=str(server.base / "cert.pem")).returncode == 0
    done = predict(url)
    assert done.returncode == 3
    assert b"certificate verify failed" in done.stderr


@needs_dovecot
@pytest.mark.parametrize(
    ("user", "folder", "password", "message"),
    [("joe", "", "wrong", "uthentication failed"), ("joe", "Nowhere", PASSWORD, "Mailbox doesn't exist: Nowhere")],
)
def test_refused(server: Server, user: str, folder: str, password: str, message: str) -> None:
    done = predict(server.url(user, folder), **{mailbox.PASSWORD: password})
    assert done.returncode == 3
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert password not in done.stderr.decode()


def test_nobody_there() -> None:
    done = predict(f"imap://joe@127.0.0.1:{_free_port()}/")
    assert done.returncode == 3
    assert b"Connection refused" in done.stderr


def test_password_from_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(mailbox.PASSWORD)
    monkeypatch.setenv("HOME", str(tmp_path))
    where = mailbox.address("imaps://mail.example.com")
    with pytest.raises(UsageError, match=r"no user for imaps://mail.example.com:993/INBOX; set BOUNCEML_IMAP_PASSWORD, or add"):
        mailbox.credentials(where)
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine mail.example.com login joe password s3cret\n")
    netrc.chmod(0o600)
    assert mailbox.credentials(where) == ("joe", "s3cret")
    assert mailbox.credentials(where._replace(user="joe")) == ("joe", "s3cret")
    with pytest.raises(UsageError, match="no password for"):
        mailbox.credentials(where._replace(user="amy"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["imap://joe:pw@127.0.0.1/"], "a password in an address is seen by others; put it into BOUNCEML_IMAP_PASSWORD or ~/.netrc"),
        (["imap:///INBOX"], "imap:///INBOX: names no host; write imaps://USER@HOST/FOLDER"),
        (["imap://joe@127.0.0.1:x/"], "127.0.0.1:x/: no address of a mailbox; write imaps://USER@HOST/FOLDER"),
        (["imap://joe@127.0.0.1/", "--imap-done", "seen"], "--imap-done needs a file in which the verdicts are safe; name one with -o"),
    ],
)
def test_wrong_use(arguments: list[str], message: str) -> None:
    done = predict(*arguments)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"bounceml: {message}")


@pytest.mark.parametrize("done", ["flag", "move:", "seen:x"])
def test_unknown_ways_of_settling(done: str) -> None:
    assert predict("imap://joe@127.0.0.1/", "--imap-done", done).returncode == 2
