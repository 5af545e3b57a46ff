"""What stands outside the package works: container, systemd unit, manual page, completion, docs/serve.md.

There is no Docker here: the Dockerfile's steps are run one by one in a fresh place, the image itself is not built.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from bounceml import completion
from bounceml.cli import _parser
from bounceml.web.events import services

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
UNIT = ROOT / "deploy" / "bounceml.service"
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")


def steps(name: str) -> list[str]:
    """What stands behind an instruction of the Dockerfile, each time."""
    lines = DOCKERFILE.replace("\\\n", " ").splitlines()
    return [line.removeprefix(name).strip() for line in lines if line.startswith(f"{name} ")]


def commands() -> dict[str, argparse.ArgumentParser]:
    (found,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


# --- container --------------------------------------------------------------------------------------------------


def copied() -> list[str]:
    """The files and folders that are copied from the context of the build."""
    return [source for step in steps("COPY") if not step.startswith("--from") for source in step.split()[:-1]]


def test_context_holds_what_is_copied_and_no_more() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(kept) == sorted(copied())
    assert all((ROOT / source).exists() for source in copied())


HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


@pytest.mark.skipif(not HADOLINT, reason="hadolint is not installed")
def test_dockerfile_has_no_slips() -> None:
    done = subprocess.run([str(HADOLINT), ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_command_of_the_image_is_one() -> None:
    assert json.loads(steps("ENTRYPOINT")[0]) == ["/opt/bounceml/bin/bounceml"]
    arguments = _parser().parse_args(json.loads(steps("CMD")[-1]))
    assert (arguments.host, arguments.port, arguments.name) == ("0.0.0.0", 8025, ["localhost"])
    assert steps("EXPOSE") == ["8025"]


def test_compose_gives_no_more_than_needed() -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["bounceml"]
    assert _parser().parse_args(service["command"]).workers == 2
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert ":?" in service["environment"]["BOUNCEML_TOKEN"]


def asked(url: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user may look into; pytest's are closed."""
    with tempfile.TemporaryDirectory(prefix="bounceml-image-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.slow
def test_steps_of_the_dockerfile(open_folder: Path) -> None:
    context, opt, writable = (open_folder / name for name in ("src", "opt", "tmp"))
    for source in copied():
        target = context / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__", "json", "pipeline.joblib"))
        else:
            shutil.copy(ROOT / source, target)
    python = shutil.which("python3", path="/usr/bin") or sys.executable  # one that any user may run, if there is one
    (step,) = steps("RUN")
    run = step.replace("/opt/bounceml", str(opt)).replace("python -m", f"{python} -m", 1)
    subprocess.run(run, shell=True, check=True, cwd=context, capture_output=True, env={"PATH": os.environ["PATH"]})

    port = free_port()
    writable.mkdir()
    writable.chmod(0o1777)
    user = int(steps("USER")[0].partition(":")[0])
    as_user = {"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 and python.startswith("/usr/") else {}
    environ = {"TMPDIR": str(writable), **dict(pair.split("=", 1) for pair in steps("ENV")[0].split())}
    entry = [part.replace("/opt/bounceml", str(opt)) for part in json.loads(steps("ENTRYPOINT")[0])]
    health = json.loads(re.sub(r"^.*?CMD ", "", steps("HEALTHCHECK")[0]))
    health = [part.replace("/opt/bounceml", str(opt)).replace("8025", str(port)) for part in health]
    command = [*entry, *json.loads(steps("CMD")[-1]), "--port", str(port)]
    running = subprocess.Popen(command, cwd="/", env=environ, **as_user)  # type: ignore[call-overload]
    try:
        assert subprocess.run(health, env=environ, stderr=subprocess.DEVNULL, check=False).returncode in (0, 1)
        until = time.monotonic() + 20
        while subprocess.run(health, env=environ, stderr=subprocess.DEVNULL, check=False).returncode:
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.2)
        url = f"http://127.0.0.1:{port}/v1/classify"
        body = b'{"text": "552 5.2.2 mailbox full"}'
        status, found = asked(url, body, **{"Content-Type": "application/json"})
        assert (status, [row["category"] for row in found["verdicts"]]) == (200, ["mailbox_full"])
        assert asked(url, body, Host="bounces.example.com")[0] == 421
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(20)


# --- systemd ----------------------------------------------------------------------------------------------------


def started() -> list[str]:
    (line,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    return shlex.split(line)


def test_unit_starts_a_command() -> None:
    program, *arguments = started()
    assert program == "/opt/bounceml/bin/bounceml"
    assert _parser().parse_args(arguments).workers == 2


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_unit_as_systemd_sees_it(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text(encoding="utf-8").replace(started()[0], shutil.which("true") or ""), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=15", unit], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-300:]


# --- completion -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_completion_knows_every_command_and_option(shell: str) -> None:
    script = completion.script(_parser(), shell)
    for name, parser in commands().items():
        assert re.search(rf"\b{name}\b", script)
        for option in options(parser):
            bare = option.lstrip("-")
            assert re.search(rf"(?:{option}|-[sl] '?{bare}'?)(?![\w-])", script), (name, option)


def in_bash(line: str, folder: Path) -> list[str]:
    """What bash offers for a line."""
    script = completion.script(_parser(), "bash")
    words = line.split(" ")
    cursor = f"COMP_CWORD={len(words) - 1} COMP_POINT={len(line)} COMP_LINE={shlex.quote(line)}"
    ask = f"""
        COMP_WORDS=({" ".join(map(shlex.quote, words))}); {cursor}
        function=$(complete -p bounceml | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        "$function" bounceml {shlex.quote(words[-1])} {shlex.quote(words[-2])}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", script + ask], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stderr == ""
    return sorted(word.strip() for word in done.stdout.split("\n") if word.strip())


def test_bash_completes(tmp_path: Path) -> None:
    (tmp_path / "mail.log").touch()
    (tmp_path / "models").mkdir()
    assert in_bash("bounceml t", tmp_path) == ["taxonomy", "train"]
    assert in_bash("bounceml serve --na", tmp_path) == ["--name"]
    assert in_bash("bounceml predict --lang ", tmp_path) == ["en", "zh"]
    assert in_bash("bounceml predict --to jsonl ma", tmp_path) == ["mail.log"]
    assert [name.rstrip("/") for name in in_bash("bounceml predict --model m", tmp_path)] == ["models"]
    assert in_bash("bounceml predict --format aut", tmp_path) == ["auto"]


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_completes(tmp_path: Path) -> None:
    script = tmp_path / "bounceml.fish"
    script.write_text(completion.script(_parser(), "fish"), encoding="utf-8")

    def offered(line: str) -> list[str]:
        ask = f"source {script}; complete -C {shlex.quote(line)}"
        environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        done = subprocess.run(["fish", "--no-config", "-c", ask], capture_output=True, text=True, check=True, env=environ)
        return sorted(row.partition("\t")[0] for row in done.stdout.splitlines())

    assert offered("bounceml t") == ["taxonomy", "train"]
    assert offered("bounceml serve --na") == ["--name"]
    assert offered("bounceml predict --lang ") == ["en", "zh"]


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_reads_it(tmp_path: Path) -> None:
    (tmp_path / "_bounceml").write_text(completion.script(_parser(), "zsh"), encoding="utf-8")
    ask = f"fpath=({tmp_path} $fpath); autoload -Uz compinit && compinit -D && print -r -- $_comps[bounceml]"
    done = subprocess.run(["zsh", "-f", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "_bounceml"
    subprocess.run(["zsh", "-n", tmp_path / "_bounceml"], check=True)


# --- the manual page --------------------------------------------------------------------------------------------


def test_manual_page_is_up_to_date() -> None:
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    made = subprocess.run([sys.executable, "docs/manpage.py"], cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout
    assert made == (ROOT / "docs" / "bounceml.1").read_text(encoding="utf-8"), "run: python docs/manpage.py > docs/bounceml.1"
    for name, parser in commands().items():
        part = made.partition(f".SS bounceml {name}\n")[2].partition(".SS ")[0].replace("\\-", "-")
        assert all(rf"\fB{option}\fR" in part for option in options(parser) - {"-h", "--help"}), name
        assert parser.epilog is None or "bounceml " + name in part


@pytest.mark.skipif(not shutil.which("man"), reason="man is not installed")
def test_manual_page_has_no_slips() -> None:
    done = subprocess.run(
        ["man", "--warnings", "--local-file", ROOT / "docs" / "bounceml.1"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"MANWIDTH": "80", "MANPAGER": "cat", "LC_ALL": "C.UTF-8"},
    )
    assert done.stderr == ""
    assert "BOUNCEML(1)" in done.stdout


# --- docs/serve.md ----------------------------------------------------------------------------------------------


def test_page_tells_of_every_service_and_setting() -> None:
    for service in services():
        assert f"`{service.id}`" in PAGE
        assert all(f"`{name}`" in PAGE for name in service.settings)
    told = set(re.findall(r"BOUNCEML_[A-Z_]+", PAGE)) - {"BOUNCEML_TOKEN"}
    assert told == {name for service in services() for name in service.settings}


def test_links_of_the_page_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", PAGE) if not link.startswith("https://")]
    assert links
    for link in links:
        path, _, part = link.partition("#")
        target = ROOT / "docs" / path
        assert target.exists(), link
        headings = [
            re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in target.read_text().splitlines()
            if line[:1] == "#"
        ]
        assert not part or part in headings, link


def test_commands_of_the_page_are_commands() -> None:
    lines = re.findall(
        r"^\$ (?:\w+=\S+ (?:-hex 16\) )?)*bounceml (serve.*)$", PAGE.replace("$(openssl rand", "$(openssl_rand"), re.MULTILINE
    )
    assert len(lines) >= 2
    for line in lines:
        _parser().parse_args(shlex.split(line))


@pytest.mark.skipif(not shutil.which("nginx", path="/usr/sbin:/usr/bin"), reason="nginx is not installed")
def test_nginx_reads_the_page(tmp_path: Path) -> None:
    (server,) = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
    for name in ("pem", "key"):
        server = re.sub(rf"/etc/ssl/\w+/bounces\.example\.com\.{name}", str(tmp_path / f"x.{name}"), server)
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bounces.example.com"]
    subprocess.run([*request, "-keyout", tmp_path / "x.key", "-out", tmp_path / "x.pem"], check=True, capture_output=True)
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {server} }}")
    done = subprocess.run(
        ["nginx", "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False, env={"PATH": "/usr/sbin:/usr/bin"}
    )
    assert done.returncode == 0, done.stderr
