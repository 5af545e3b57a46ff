"""Several processes answer as one does; no process is left behind, whatever becomes of the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from bounceml.cli import main

COMMAND = [sys.executable, "-m", "bounceml", "predict", "--to", "jsonl"]
LINE = "550 5.1.1 <u{0}@example.com>: no such user {0}\n"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of each kind of input one that takes several tasks, or several entries."""
    folder = tmp_path_factory.mktemp("inputs")
    lines = [LINE.format(number).strip() for number in range(6000)]
    (folder / "lines.txt").write_text("\n".join([*lines[:3000], "x" * (2**20 + 1), *lines[3000:]]))
    (folder / "rows.jsonl").write_text("".join(f'{{"id": {number}, "text": "{line}"}}\n' for number, line in enumerate(lines)))
    (folder / "rows.csv").write_text("id,text,n\n" + "".join(f"{number},{line},{number % 7}\n" for number, line in enumerate(lines)))
    pq.write_table(pa.table({"text": lines, "n": list(range(6000))}), folder / "rows.parquet")
    return [str(folder), str(ROOT / "tests" / "mail"), str(ROOT / "tests" / "logs"), "552 mailbox full", str(folder / "gone.txt")]


@pytest.mark.parametrize("to", ["text", "jsonl", "csv", "parquet", "suppression"])
def test_several_processes_write_what_one_writes(inputs: list[str], tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bounceml.suppression._expires_at", lambda days, last: "")  # it counts from now
    for jobs in ("1", "3"):
        assert main(["predict", *inputs, "--to", to, "--jobs", jobs, "-o", str(tmp_path / jobs)]) == 3  # one line is too long
    if to == "parquet":
        assert pq.read_table(tmp_path / "1").equals(pq.read_table(tmp_path / "3"))
    else:
        assert (tmp_path / "1").read_bytes() == (tmp_path / "3").read_bytes()
    assert (tmp_path / "1").stat().st_size > 100


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return list(map(int, found.stdout.split()))


def ended(pids: list[int]) -> bool:
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2] for pid in pids):
            return True
        time.sleep(0.1)
    return False


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(tmp_path)


class Running:
    """A run of two processes on a pipe that stays open."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out.jsonl"
        self.lines = folder / "lines.txt"
        self.lines.write_text("".join(map(LINE.format, range(60_000))))
        command = [*COMMAND, "--jobs", "2", "-o", str(self.out), str(self.lines), "-"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        while len(children(self.process.pid)) < 2:
            time.sleep(0.01)
        self.workers = children(self.process.pid)

    def end(self) -> tuple[int, str]:
        _, told = self.process.communicate()
        return self.process.returncode, told


def test_ctrl_c(running: Running) -> None:
    os.killpg(running.process.pid, signal.SIGINT)
    code, told = running.end()
    assert (code, "Traceback" in told) == (130, False)
    assert ended(running.workers)


def test_no_process_outlives_the_one_that_writes(running: Running) -> None:
    running.process.kill()
    running.end()
    assert ended(running.workers)


def test_a_lost_process_is_told_and_the_run_gone_on_with(running: Running) -> None:
    os.kill(running.workers[0], signal.SIGKILL)
    code, told = running.end()
    assert code == 2
    assert "a process ended before its time" in told
    assert "Traceback" not in told
    whole = running.out.with_name("whole.jsonl")
    assert main(["predict", str(running.lines), "--to", "jsonl", "-o", str(whole)]) == 0
    command = [*COMMAND, "--jobs", "2", "-o", str(running.out), str(running.lines), "-"]
    assert subprocess.run(command, cwd=ROOT, input=b"", check=False, stderr=subprocess.DEVNULL).returncode == 0
    assert running.out.read_bytes() == whole.read_bytes()


def test_a_killed_run_is_gone_on_with(tmp_path: Path) -> None:
    lines, out = tmp_path / "lines.txt", tmp_path / "out.jsonl"
    lines.write_text("".join(map(LINE.format, range(60_000))))
    command = [*COMMAND, "--jobs", "2", "-o", str(out), str(lines)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        part = tmp_path / "out.jsonl.part"
        while not (part.exists() and part.stat().st_size > 2**20):
            time.sleep(0.01)
        process.kill()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "going on with what an earlier run left" in done.stderr
    assert main(["predict", str(lines), "--to", "jsonl", "-o", str(tmp_path / "whole.jsonl")]) == 0
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_reader_that_has_seen_enough_ends_the_run(jobs: str) -> None:
    command = f"yes '550 5.1.1 no such user' | {' '.join(COMMAND)} --jobs {jobs} - | head -n 3"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.count("\n") == 3
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("form", "line"), [("reply", "552 mailbox full\n"), ("csv", "7,552 mailbox full\n")])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_who_waits_on_a_pipe_gets_each_answer_at_once(jobs: str, form: str, line: str) -> None:
    command = [*COMMAND, "--format", form, "--jobs", jobs, "-"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin
        assert process.stdout
        if form == "csv":
            process.stdin.write("id,text\n")
        for _ in range(3):
            process.stdin.write(line)
            process.stdin.flush()
            assert '"mailbox_full"' in process.stdout.readline()
        process.stdin.close()
