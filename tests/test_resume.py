"""A run that is killed at any point and started again ends with the output of one that was not."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, answered

from bounceml import Classifier, output, stream
from bounceml.errors import UsageError
from bounceml.parsing import containers
from bounceml.values import Reply, Verdict

TOLD = "From MAILER-DAEMON Thu Jan  1 00:00:00 2026\n"
SEED = 20260101


def mail(number: int) -> str:
    """A mail on one to three recipients."""
    failed = "".join(f"<u{number}.{n}@example.com>:\n550 5.1.1 No such user {number}\n\n" for n in range(number % 3 + 1))
    return f"From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n\n{failed}\n"


def line(number: int) -> str:
    said = f"550 5.1.1 No such user {number}"
    return f"Jan  1 12:00:00 mx postfix/smtp[7]: 4F2A91C{number:X}: to=<u{number}@example.com>, relay=none, status=bounced ({said})"


def folder(place: Path, count: int) -> Path:
    for number in range(count):
        path = place / "mails" / f"{number % 7}" / f"{number:05}.eml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(mail(number))
    return place / "mails"


def mbox(place: Path, count: int) -> Path:
    path = place / "box.mbox"
    path.write_text("".join(TOLD + mail(number) for number in range(count)))
    return path


def log(place: Path, count: int) -> Path:
    path = place / "mail.log.gz"
    path.write_bytes(gzip.compress("".join(f"{line(number)}\n" for number in range(count)).encode()))
    return path


def table(place: Path, count: int) -> Path:
    path = place / "rows.csv"
    path.write_text("id,reply\n" + "".join(f'{number},"552 5.2.2 mailbox full,\nsorry {number}"\n' for number in range(count)))
    return path


INPUTS: dict[str, Callable[[Path, int], Path]] = {"folder": folder, "mbox": mbox, "log": log, "table": table}


# --- killed for real --------------------------------------------------------------------------------------------


def start(inputs: Iterable[Path], to: str, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bounceml", "predict", *map(str, inputs), "--to", to, "-o", str(out)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)


def wait_for_rows(process: subprocess.Popen[bytes], part: Path) -> None:
    """Wait until a run has written rows of its own: what it does before that, a kill cannot spoil."""
    before = part.stat().st_size if part.exists() else 0
    while process.poll() is None and not (part.exists() and part.stat().st_size > before):
        time.sleep(0.002)


@pytest.mark.parametrize("to", ["jsonl", "csv"])
@pytest.mark.parametrize("kind", INPUTS)
def test_killed_run_ends_as_one_that_was_not(tmp_path: Path, kind: str, to: str) -> None:
    given = INPUTS[kind](tmp_path, {"folder": 2000, "mbox": 4000}.get(kind, 40_000))  # a second of work, several checkpoints
    begin = time.monotonic()
    start([given], to, tmp_path / "whole").communicate()
    takes = time.monotonic() - begin

    dice = random.Random(f"{SEED}{kind}{to}")
    kills = went_on = 0
    while True:
        process = start([given], to, tmp_path / "out")
        if kills < 6:
            wait_for_rows(process, tmp_path / "out.part")
        try:
            _, told = process.communicate(timeout=dice.uniform(0.1, 0.4) * takes if kills < 6 else None)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            _, told = process.communicate()
            kills += 1
        went_on += b"going on with" in told
        if process.returncode != -signal.SIGKILL or (tmp_path / "out").exists():  # the last kill may come too late
            break
    assert process.returncode in (0, -signal.SIGKILL)
    assert kills
    assert went_on
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()
    assert process.returncode or not list(tmp_path.glob("out.*"))


# --- killed at each point in turn -------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def everywhere(tmp_path: Path) -> list[Path]:
    return [folder(tmp_path, 9), mbox(tmp_path, 5), log(tmp_path, 6), table(tmp_path, 4), tmp_path / "gone.eml"]


@pytest.fixture(autouse=True)
def _checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(stream, "_ROWS", 2)
    monkeypatch.setattr(containers, "_BLOCK", 30)  # bytes: two lines


def run_of(inputs: list[Path], **more: object) -> dict[str, Any]:
    return {"inputs": [str(path) for path in inputs], "to": "jsonl", **more}


def answer(inputs: list[Path], out: Path, to: str = "jsonl", judged: int = sys.maxsize, classifier: Classifier | None = None) -> int:
    """Answer inputs; the process "ends" when so many replies have been judged. Return how many were."""
    count = itertools.count()

    def judge(reply: Reply) -> Verdict:
        if next(count) == judged:
            raise Killed
        return classifier.classify(reply) if classifier else _READY._replace(error=reply.error)

    answered(out, run_of(inputs, to=to), judge)
    return next(count)


_READY = Classifier.load().classify("552 mailbox full")  # in no time; what is tested is not what it says


@pytest.mark.parametrize("to", ["jsonl", "csv"])
def test_every_point_is_a_good_one_to_be_killed_at(everywhere: list[Path], tmp_path: Path, to: str) -> None:
    os.symlink("nowhere", everywhere[-1])
    total = answer(everywhere, tmp_path / "whole", to)
    for point in range(total):
        out = tmp_path / f"out{point}"
        with pytest.raises(Killed):
            answer(everywhere, out, to, judged=point)
        assert answer(everywhere, out, to) <= total - point + 3  # of a mail that was not finished, three recipients at most
        assert out.read_bytes() == (tmp_path / "whole").read_bytes()


def test_killed_again_and_again(everywhere: list[Path], tmp_path: Path) -> None:
    answer(everywhere, tmp_path / "whole")
    for _ in range(100):
        try:
            answer(everywhere, tmp_path / "out", judged=4)
            break
        except Killed:
            continue
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("cut", [1, 7, 100, 1000, 2000])
def test_rows_that_the_disk_lost_are_written_again(everywhere: list[Path], tmp_path: Path, cut: int) -> None:
    answer(everywhere, tmp_path / "whole")
    with pytest.raises(Killed):
        answer(everywhere, tmp_path / "out", judged=20)
    part, record = tmp_path / "out.part", tmp_path / "out.run"
    os.truncate(part, max(0, part.stat().st_size - cut))
    os.truncate(record, record.stat().st_size - cut % 50)
    answer(everywhere, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()


def test_killed_between_the_last_steps(everywhere: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> None:
        raise Killed

    answer(everywhere, tmp_path / "whole")
    for step in ("replace", "unlink"):
        out = tmp_path / f"out-{step}"
        with monkeypatch.context() as patch:
            real, name = getattr(Path, step), "out-replace.part" if step == "replace" else "out-unlink.run"
            patch.setattr(
                Path, step, lambda path, *more, real=real, name=name, **ways: dies() if path.name == name else real(path, *more, **ways)
            )
            with pytest.raises(Killed):
                answer(everywhere, out)
        assert answer(everywhere, out) == 0
        assert out.read_bytes() == (tmp_path / "whole").read_bytes()
        assert not list(tmp_path.glob("out-*.*"))


def test_errors_of_the_first_part_count_in_the_exit_code(tmp_path: Path) -> None:
    gone = tmp_path / "gone.eml"
    gone.symlink_to("nowhere")
    inputs = [gone, mbox(tmp_path, 5)]
    with pytest.raises(Killed):
        answer(inputs, tmp_path / "out", judged=4)
    with output.opened(tmp_path / "out", run_of(inputs), say=lambda _: None) as opened:
        assert opened.unread == 1


# --- inputs that change -----------------------------------------------------------------------------------------


def test_mails_that_arrive_meanwhile_are_answered_once(tmp_path: Path) -> None:
    mails = folder(tmp_path, 20)
    with pytest.raises(Killed):
        answer([mails], tmp_path / "out", judged=15)
    (mails / "0" / "00000-new.eml").write_text(mail(1000))
    (mails / "6" / "99999.eml").write_text(mail(1001))
    answer([mails], tmp_path / "out")
    recipients = [json.loads(row)["recipient"] for row in (tmp_path / "out").read_text().splitlines()]
    expected = [f"u{number}.{n}@example.com" for number in (*range(20), 1000, 1001) for n in range(number % 3 + 1)]
    assert sorted(recipients) == sorted(expected)


def test_log_that_has_grown_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_text("".join(f"{line(number)}\n" for number in range(6)))
    with pytest.raises(Killed):
        answer([path], tmp_path / "out", judged=4)
    with path.open("a") as file:
        file.write("".join(f"{line(number)}\n" for number in range(6, 9)))
    answer([path], tmp_path / "out")
    rows = [json.loads(row) for row in (tmp_path / "out").read_text().splitlines()]
    assert [row["source"] for row in rows] == [f"{path}:{number}" for number in range(1, 10)]


@pytest.mark.parametrize("lines", [["550 other"] * 6, ["550 5.1.1 u0"], []])
def test_file_that_is_another_by_now_is_not_gone_on_with(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"550 5.1.1 u{number}\n" for number in range(6)))
    with pytest.raises(Killed):
        answer([path], tmp_path / "out", judged=4)
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"lines.txt: is no longer what .*out.part was written from; delete out.part to start over"):
        answer([path], tmp_path / "out")


# --- other runs -------------------------------------------------------------------------------------------------


def test_part_of_another_run_is_left_alone(tmp_path: Path) -> None:
    inputs = [mbox(tmp_path, 5)]
    with pytest.raises(Killed):
        answer(inputs, tmp_path / "out", judged=3)
    before = (tmp_path / "out.part").read_bytes()
    with pytest.raises(
        UsageError, match=r"out.part: was left by another run \(inputs differ\); repeat that one to finish it, or delete the file"
    ):
        answer([*inputs, tmp_path], tmp_path / "out")
    (tmp_path / "out.run").unlink()
    with pytest.raises(UsageError, match=r"out.part: has no record of its run \(out.run\); delete it to start over"):
        answer(inputs, tmp_path / "out")
    assert (tmp_path / "out.part").read_bytes() == before


def test_other_options_and_another_model_are_another_run() -> None:
    given: dict[str, Any] = {"inputs": ["a"], "format": "auto", "column": None, "to": "csv", "lang": "en", "scheme": None}
    given |= {"audience": "sender", "explain": False, "threshold": None, "model": None, "imap_done": None, "policy": None, "rules": None}
    first = output.run_of(given)
    assert all(output.run_of({**given, name: "other"}) != first for name in given if name not in ("model", "policy", "rules"))
    assert len(str(first["model"])) == 64


def test_two_runs_at_once_do_not_write_one_file(tmp_path: Path) -> None:
    inputs = [mbox(tmp_path, 5)]
    with output.opened(tmp_path / "out", run_of(inputs), say=lambda _: None), pytest.raises(UsageError, match="another run is writing it"):
        answer(inputs, tmp_path / "out")


def test_standard_input_starts_over(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bounceml", "predict", "--to", "jsonl", "-o", str(tmp_path / "out"), "-"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        process.stdin.write(b"".join(b"550 5.1.1 No such user %d\n" % number for number in range(1500)))
        process.stdin.flush()
        while not ((part := tmp_path / "out.part").exists() and part.stat().st_size):
            time.sleep(0.01)
        process.kill()
    assert subprocess.run(command, cwd=ROOT, input=mail(0).encode(), stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert [json.loads(row)["recipient"] for row in (tmp_path / "out").read_text().splitlines()] == ["u0.0@example.com"]


def test_finished_output_is_replaced_by_the_next_run(tmp_path: Path) -> None:
    answer([mbox(tmp_path, 5)], tmp_path / "out")
    answer([mbox(tmp_path, 1)], tmp_path / "out")
    assert len((tmp_path / "out").read_text().splitlines()) == 1


@pytest.mark.parametrize("to", ["jsonl", "suppression"])
def test_link_is_followed_and_not_replaced(tmp_path: Path, to: str) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "real")
    for _ in range(2):
        answer([mbox(tmp_path, 2)], tmp_path / "out", to)
        assert (tmp_path / "out").is_symlink()
        assert (tmp_path / "real").stat().st_size


def test_what_is_no_file_is_written_to_directly() -> None:
    command = [sys.executable, "-m", "bounceml", "predict", "--to", "jsonl", "-o", "/dev/stdout", "552 mailbox full"]
    assert json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)["category"] == "mailbox_full"
