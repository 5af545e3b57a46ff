"""Lets Postfix, Exim and cron hand mails to bounceml as README says, and checks that each mail is answered, once.

Called by ``pipe`` inside namespaces of its own; only loopback is there.
"""

from __future__ import annotations

import json
import re
import shutil
import smtplib
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import syslogd
from causes import HERE
from drive import inside, wait_for

HOST = "mx.example.com"
MAILS = 50
CONNECTIONS = 15  # at a time; Exim takes 20
PATIENCE = 90  # seconds until a delivery counts as lost
VERDICTS = "var/lib/bounceml/verdicts.jsonl"
_SNIPPET = re.compile(r"^```\w*\n((?:#!.*\n)?# (/[^\s:,]+)(?:.*after \"(.*)\")?.*\n[^`]*)^```$", re.MULTILINE)

Answers = Counter[tuple[str | None, str, str]]


class Snippet(NamedTuple):
    """A block of README that is the content of a file, or that stands behind a line of one."""

    text: str
    path: str
    after: str


def snippets() -> list[Snippet]:
    """Return the blocks of README that name their file in the first comment."""
    readme = (HERE.parent / "README.md").read_text(encoding="utf-8")
    return [Snippet(text, path, after) for text, path, after in _SNIPPET.findall(readme)]


def install(root: Path, logs: Path, folders: tuple[str, ...]) -> None:
    """Do in a root what README says, as far as it is about files in ``folders`` and below /usr/local."""
    syslogd.start(root, HOST, logs / f"{root.parent.name}-pipe.log", iso=True)
    for name in ("etc/hosts", "etc/mailname", "etc/resolv.conf"):
        (root / name).unlink(missing_ok=True)
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {HOST}\n")
    (root / "etc/mailname").write_text("example.com\n")
    run(root, "useradd", "--system", "--create-home", "--home-dir", "/var/lib/bounceml", "bounceml")
    for snippet in snippets():
        if not snippet.path.startswith(("/usr/local/", *folders)):
            continue
        path = root / snippet.path[1:]
        before = path.read_text() if path.exists() else ""
        if snippet.after:
            start, line, rest = before.partition(f"\n{snippet.after}\n")
            if not line:
                raise SystemExit(f"lab: {snippet.path} has no line {snippet.after!r}; see what README should say instead")
            path.write_text(f"{start}{line}\n{snippet.text}\n{rest}")
        else:
            path.write_text(before + snippet.text)
        if snippet.text.startswith("#!"):
            path.chmod(0o755)


def run(root: Path, *command: str) -> None:
    """Run a command in a root; the lab ends where it fails."""
    done = inside(root, HOST, *command)
    if done.returncode:
        raise SystemExit(f"lab: {' '.join(command)}: {done.stdout}{done.stderr}")


def postfix(root: Path) -> str:
    """Start Postfix, and return its address."""
    settings = {
        "compatibility_level": "3.6",
        "inet_interfaces": "127.0.1.1",
        "inet_protocols": "ipv4",
        "message_size_limit": "100000000",
        "mailbox_size_limit": "0",
        "minimal_backoff_time": "5s",
        "queue_run_delay": "5s",
    }
    run(root, "postconf", *[f"{name}={value}" for name, value in settings.items()], "mydestination=example.com")
    with (root / "etc/aliases").open("a") as aliases:
        aliases.write('aliased: "|/usr/local/bin/bounceml-pipe"\n')
    run(root, "newaliases")
    run(root, "postfix", "start")
    return "127.0.1.1"


def exim(root: Path) -> str:
    """Start Exim, and return its address."""
    settings = root / "etc/exim4/update-exim4.conf.conf"
    text = settings.read_text()
    for name, value in {
        "dc_other_hostnames": "example.com",
        "dc_local_interfaces": "127.0.1.2",
        "dc_eximconfig_configtype": "local",
    }.items():
        text = re.sub(rf"^{name}=.*", f"{name}='{value}'", text, flags=re.MULTILINE)
    settings.write_text(text)
    (root / "etc/exim4/exim4.conf.localmacros").write_text("MESSAGE_SIZE_LIMIT = 100M\n")
    template = root / "etc/exim4/exim4.conf.template"
    template.write_text(re.sub(r"(begin retry\n)", r"\1* * F,1h,5s\n", template.read_text()))
    run(root, "update-exim4.conf")
    run(root, "exim4", "-bd", "-q3s")
    return "127.0.1.2"


def send(address: str, to: str, raw: bytes) -> None:
    """Deliver a mail as bounces come: from nobody."""
    with smtplib.SMTP(address, timeout=60, local_hostname="mx.example.net") as client:
        client.sendmail("", [to], raw)


def answers(root: Path) -> Answers:
    """Return what the file of verdicts holds; a line that is no row ends the lab."""
    path = root / VERDICTS
    rows = map(json.loads, path.read_bytes().split(b"\n")[:-1] if path.is_file() else [])
    return Counter((row["recipient"], row["category"], row["error"] or row["outcome"]) for row in rows)


def wait(what: str, holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    begin = time.monotonic()
    while not holds():
        if time.monotonic() - begin > PATIENCE:
            raise SystemExit(f"lab: {what}: not after {PATIENCE} s")
        time.sleep(0.2)
    print(f"lab: {what} ({time.monotonic() - begin:.1f} s)", file=sys.stderr)


def expected(root: Path, mails: list[Path]) -> Answers:
    """Return what bounceml says of the mails when they are files."""
    into = root / "tmp/mails"
    into.mkdir(exist_ok=True)
    for mail in mails:
        shutil.copy(mail, into)
    done = inside(root, HOST, "/opt/bounceml/bin/bounceml", "predict", "--to", "jsonl", "/tmp/mails")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return Counter((row["recipient"], row["category"], row["outcome"]) for row in rows)


def check_server(name: str, root: Path, log: Path, address: str, mails: list[Path]) -> None:
    """Send a burst of mails, one that cannot be written and one that cannot be read."""
    verdicts = root / VERDICTS
    wanted = expected(root, mails)
    raws = [mail.read_bytes().replace(b"\n", b"\r\n") for mail in mails]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda raw: send(address, "bounces@example.com", raw), raws))
    wait(f"{name}: {len(mails)} mails in a burst, {wanted.total()} rows, each once", lambda: answers(root) == wanted)

    verdicts.unlink()
    verdicts.mkdir()
    send(address, "bounces@example.com", raws[0])
    reason = "cannot create /var/lib/bounceml/verdicts.jsonl"
    wait(f"{name}: a mail whose verdict cannot be written waits, and the log says why", lambda: reason in log.read_text())
    verdicts.rmdir()
    wait(f"{name}: and is answered as soon as it can be", lambda: answers(root).total() > 0)

    verdicts.unlink()
    send(address, "bounces@example.com", raws[0] + b"x" * 76 + b"\r\n" + (b"y" * 74 + b"\r\n") * 900_000)
    wait(f"{name}: a mail too large to be read has its row", lambda: any("64 MB" in row[2] for row in answers(root)))


def check_alias(root: Path, address: str, raw: bytes) -> None:
    """Send a mail to an alias that is a pipe, whose user is nobody."""
    (root / "var/lib/bounceml").chmod(0o711)
    verdicts = root / VERDICTS
    verdicts.write_text("")
    verdicts.chmod(0o666)
    send(address, "aliased@example.com", raw)
    wait("Postfix: an alias answers too", lambda: answers(root).total() > 0)
    verdicts.unlink()


def check_cron(root: Path, mails: list[Path]) -> None:
    """Put mails into a Maildir, and let cron find them."""
    maildir = root / "var/lib/bounceml/Maildir"
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    for mail in mails:
        shutil.copy(mail, maildir / "new")
    run(root, "chown", "-R", "bounceml:bounceml", "/var/lib/bounceml")
    table = root / "etc/cron.d/bounceml"
    table.write_text(table.read_text().replace("*/5 ", "* "))  # nobody has five minutes
    table.chmod(0o644)
    run(root, "cron")
    wanted = expected(root, mails)
    wait(f"cron: {len(mails)} mails of a Maildir", lambda: answers(root) == wanted and not list((maildir / "new").iterdir()))


def main() -> None:
    """Check all that README says; the argument is the folder of roots."""
    work = Path(sys.argv[1])
    logs = work / "recorded-pipe"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir()
    mails = sorted((HERE.parent / "tests/lab/mails").glob("*.eml"))[::6][:MAILS]

    root = work / "postfix" / "merged"
    install(root, logs, ("/etc/postfix/", "/etc/cron.d/"))
    address = postfix(root)
    wait_for(address)
    check_server("Postfix", root, logs / "postfix-pipe.log", address, mails)

    check_alias(root, address, mails[0].read_bytes())
    check_cron(root, mails)

    root = work / "exim" / "merged"
    install(root, logs, ("/etc/exim4/",))
    address = exim(root)
    wait_for(address)
    check_server("Exim", root, root / "var/log/exim4/mainlog", address, mails)


if __name__ == "__main__":
    main()
