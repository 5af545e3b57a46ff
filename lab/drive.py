"""Runs the lab: starts the servers in their roots, sends every scenario through every sender, keeps what comes back.

Called by ``run`` inside namespaces of its own; only loopback is there.
"""

from __future__ import annotations

import json
import shutil
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import messages
import sink
import syslogd
import wire
from causes import HERE, Scenario, scenarios

MAXIMUM = 420  # seconds for the whole of the sending; the slowest queue lets go of a message well before
QUIET = 45  # seconds without a new bounce after which the lab is done

# Root, the host name inside, the address that it takes mail for sending at.
SENDERS = {
    "postfix": ("out.alpha.example", "alpha.example", "127.0.1.1"),
    "exim": ("out.beta.example", "beta.example", "127.0.1.2"),
    "opensmtpd": ("out.gamma.example", "gamma.example", "127.0.1.3"),
    "sendmail": ("out.delta.example", "delta.example", "127.0.1.4"),
}
ISO = {"sendmail"}  # whose log has Debian's new time stamps


def zone(path: Path) -> Iterator[str]:
    """Turn zone.txt into unbound's local-data lines."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", " ")):
            yield f"local-data: '{line}'"


def inside(root: Path, host: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a root, with a host name of its own."""
    script = f"hostname {host} && exec chroot {root} env TZ=UTC LC_ALL=C.UTF-8 HOME=/root " + '"$@"'
    return subprocess.run(["unshare", "--uts", "sh", "-c", script, "sh", *command], check=False, text=True, capture_output=True, timeout=90)


def start(name: str, host: str, root: Path, logs: Path) -> None:
    """Copy a server's files into its root, and start it."""
    shutil.copytree(HERE / "servers" / name / "files", root, dirs_exist_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.53\noptions timeout:1 attempts:2\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "etc/mailname").write_text(host + "\n")
    (root / "etc/hostname").write_text(host + "\n")
    (root / "etc/localtime").unlink(missing_ok=True)
    syslogd.start(root, host, logs / f"{name}.log", iso=name in ISO)
    shutil.copy(HERE / "servers" / name / "start", root / "tmp" / "start")
    with (logs / f"{name}.start").open("w") as out:
        script = f"hostname {host} && exec chroot {root} env TZ=UTC LC_ALL=C.UTF-8 HOME=/root sh /tmp/start"
        done = subprocess.run(
            ["unshare", "--uts", "sh", "-c", script], check=False, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=90
        )
    if done.returncode:
        print(f"lab: {name} did not start: {(logs / f'{name}.start').read_text()}", file=sys.stderr)


def wait_for(address: str, port: int = 25) -> None:
    """Wait until somebody listens, at most 20 seconds."""
    for _ in range(100):
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    print(f"lab: nobody listens at {address}:{port}", file=sys.stderr)


def send(server: str, number: int, scenario: Scenario) -> str | None:
    """Hand a scenario's mail to a sending server; return what it said where it did not take it."""
    _, domain, address = SENDERS[server]
    if scenario.category == ("sender_domain_invalid",):
        domain = domain.replace(".example", ".lost.example")
    sender = f"{scenario.sender}@{domain}"
    raw = messages.make(scenario.message, sender, scenario.to[0], f"{number:03}.{server}")
    try:
        with smtplib.SMTP(address, timeout=30, local_hostname="desk.example", source_address=("127.0.0.1", 0)) as client:
            client.ehlo()
            dsn = client.has_extn("dsn")
            utf8 = ["SMTPUTF8"] if scenario.message == "utf8" else []
            code, said = client.mail(
                sender, [*utf8, *(["BODY=8BITMIME"] if client.has_extn("8bitmime") else [])] + (["RET=HDRS"] if dsn else [])
            )
            if code >= 400:
                return f"MAIL {code} {said.decode()}"
            refused = []
            for to in scenario.to:
                code, said = client.docmd("RCPT", f"TO:<{to}>" + (f" NOTIFY={scenario.notify}" if dsn and scenario.notify else ""))
                if code >= 400:
                    refused.append(f"RCPT {code} {said.decode()}")
            if len(refused) == len(scenario.to):
                return refused[0]
            code, said = client.data(raw)
            return f"DATA {code} {said.decode()}" if code >= 400 else None
    except (OSError, smtplib.SMTPException) as error:
        return f"{type(error).__name__} {error}"


def versions(work: Path) -> dict[str, str]:
    """What each server calls itself in the test data: its name and the Debian package's version."""
    names = {"postfix": "Postfix", "exim": "Exim", "opensmtpd": "OpenSMTPD", "sendmail": "Sendmail", "dovecot": "Dovecot"}
    packages = {"exim": "exim4-daemon-heavy", "sendmail": "sendmail-bin", "dovecot": "dovecot-core"}
    found = {}
    for name, shown in names.items():
        root = work / ("tools" if name == "dovecot" else name) / "merged"
        done = inside(root, "lab.example", "dpkg-query", "-W", "-f", "${Version}", packages.get(name, name))
        found[name] = f"{shown} {done.stdout.strip()}"
    return found


def occupy() -> list[socket.socket]:
    """Use up what the limits of servers allow: hold a connection, send a first message, from every sender's address."""
    held = []
    for source in [address for _, _, address in SENDERS.values()] + [wire.SOURCE]:
        for target in ("127.0.2.11", "127.0.3.11", "127.0.5.5"):
            try:
                held.append(socket.create_connection((target, 25), timeout=5, source_address=(source, 0)))
            except OSError as error:
                print(f"lab: cannot hold {target}: {error}", file=sys.stderr)
        for target, to in (("127.0.2.10", "info@yew.example"), ("127.0.3.10", "info@lime.example"), ("127.0.5.4", "info@sage.example")):
            wire.send_one(target, source, "desk@lab.example", to)
    return held


def main() -> None:
    """Run it all; the two arguments are the folder of roots and the folder for what is recorded."""
    work, out = Path(sys.argv[1]), Path(sys.argv[2])
    logs = out / "logs"
    logs.mkdir(parents=True)
    arrivals: list[sink.Arrival] = []
    sink.start(arrivals)
    tools = work / "tools" / "merged"
    (tools / "etc/unbound").mkdir(exist_ok=True)
    (tools / "etc/unbound/zone.conf").write_text("\n".join(zone(HERE / "zone.txt")) + "\n")
    start("tools", "tools.lab.example", tools, logs)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: start(name, SENDERS[name][0], work / name / "merged", logs), SENDERS))
    for _, _, address in SENDERS.values():
        wait_for(address)
    held = occupy()
    rows = scenarios()
    refused: list[dict[str, object]] = []
    begin = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            (server, scenario, pool.submit(send, server, number, scenario))
            for server in SENDERS
            for number, scenario in enumerate(rows)
            if not scenario.servers or server in scenario.servers
        ]
        for server, scenario, job in jobs:
            if said := job.result():
                refused.append({"server": server, "scenario": scenario.sender, "said": said})
    with (out / "wire.jsonl").open("w") as file:
        for row in (*wire.scenario_replies(rows), *wire.dialogue_replies()):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    seen, since = -1, time.monotonic()
    while time.monotonic() - begin < MAXIMUM and (time.monotonic() - since < QUIET or time.monotonic() - begin < 60):
        if len(arrivals) != seen:
            seen, since = len(arrivals), time.monotonic()
        time.sleep(1)
    for log in (work / "exim" / "merged/var/log/exim4").glob("*log"):
        shutil.copy(log, logs / f"exim-{log.name}.log")
    for connection in held:
        connection.close()
    (out / "versions.json").write_text(json.dumps(versions(work)))
    (out / "refused.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in refused))
    mails = out / "mails"
    mails.mkdir()
    with (out / "arrivals.jsonl").open("w") as file:
        for number, arrival in enumerate(arrivals):
            (mails / f"{number:04}.eml").write_bytes(arrival.raw)
            row = {"mail": f"{number:04}.eml", "helo": arrival.helo, "sender": arrival.sender, "recipients": arrival.recipients}
            file.write(json.dumps(row) + "\n")
    print(f"lab: {len(arrivals)} mails, {len(refused)} not taken, {time.monotonic() - begin:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
