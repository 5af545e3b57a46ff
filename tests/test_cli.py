"""The command line as users meet it: output, exit codes, and errors that say what to do."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import MODEL, ROOT

from bounceml.cli import main


def run(*arguments: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bounceml", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, cwd=ROOT, env={**os.environ, **environment})


def verdicts(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def test_one_line_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "552 5.2.2 mailbox full"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Mailbox full (mailbox_full, S02)")
    assert "What to do:" in out


def test_chinese_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--lang", "zh", "550 CoremailSys:System is busy."]) == 0
    out = capsys.readouterr().out
    assert "解决办法: 请稍后重新发送" in out


def test_several_replies_make_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "552 5.2.2 mailbox full", "550 5.1.1 no such user"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["Recipient", "Category", "Sure", "Action", "Reply"]


def test_lines_from_standard_input() -> None:
    done = run("predict", "--to", "jsonl", "-", stdin="552 5.2.2 mailbox full\n\n对方邮箱已满\r\n".encode())
    assert done.returncode == 0
    assert [row["category"] for row in verdicts(done)] == ["mailbox_full", "mailbox_full"]


def test_gb18030_line() -> None:
    done = run("predict", "--to", "jsonl", "--format", "reply", stdin="552 对方邮箱空间不足\n".encode("gb18030"))
    assert verdicts(done)[0]["reply"] == "552 对方邮箱空间不足"


def test_jsonl_keeps_ids_and_order() -> None:
    rows = [{"id": 7, "text": "552 mailbox full"}, {"id": "b", "text": "550 5.1.1 no such user"}]
    done = run("predict", "--to", "jsonl", "--format", "jsonl", "--column", "text", "-", stdin="\n".join(map(json.dumps, rows)).encode())
    assert [(row["id"], row["category"]) for row in verdicts(done)] == [("7", "mailbox_full"), ("b", "user_unknown")]


def test_csv_in_and_out(tmp_path: Path) -> None:
    table = tmp_path / "replies.csv"
    table.write_text('id,email,diagnostic\n1,joe@example.com,"552 5.2.2 mailbox full, sorry"\n2,amy@example.com,550 5.1.1 no such user\n')
    out = tmp_path / "verdicts.csv"
    assert run("predict", str(table), "--column", "diagnostic", "--to", "csv", "-o", str(out)).returncode == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [(row["id"], row["recipient"], row["category"]) for row in rows] == [
        ("1", "joe@example.com", "mailbox_full"),
        ("2", "amy@example.com", "user_unknown"),
    ]
    assert rows[0]["source"] == f"{table}:2"


def test_mail_gives_a_verdict_for_each_recipient() -> None:
    done = run("predict", "--to", "jsonl", "tests/mail/dsn-two-recipients.eml")
    rows = verdicts(done)
    assert len({row["recipient"] for row in rows}) == len(rows) == 2


def test_an_argument_that_is_no_file_is_the_text_itself() -> None:
    assert verdicts(run("predict", "--to", "jsonl", "no/such/file: mailbox full"))[0]["reply"] == "no/such/file: mailbox full"


def test_unreadable_input_has_its_row_and_exit_code_3(tmp_path: Path) -> None:
    gone = tmp_path / "gone.eml"
    gone.symlink_to("nowhere")
    done = run("predict", "--to", "jsonl", str(gone), "552 5.2.2 mailbox full")
    assert done.returncode == 3
    first, second = verdicts(done)
    assert first["error"] == f"{gone}: cannot be read (No such file or directory); check the name and its permissions"
    assert second["category"] == "mailbox_full"
    assert b"gone.eml: cannot be read" in done.stderr


def test_csv_without_the_column(tmp_path: Path) -> None:
    table = tmp_path / "replies.csv"
    table.write_text("id,diagnostic\n1,552 mailbox full\n")
    done = run("predict", str(table), "--column", "reply", "--to", "jsonl")
    assert done.returncode == 3
    assert verdicts(done)[0]["error"] == f"{table}: no column 'reply'; there are id, diagnostic: name one with --column"


def test_broken_jsonl_row_is_named_and_the_rest_goes_on() -> None:
    done = run(
        "predict",
        "--to",
        "jsonl",
        "--format",
        "jsonl",
        stdin=b'{"text": "552 mailbox full"}\nnot json\n{"x": 1}\n{"text": "552 mailbox full"}\n',
    )
    rows = verdicts(done)
    assert done.returncode == 3
    assert [bool(row["error"]) for row in rows] == [False, True, True, False]
    assert rows[2]["error"].startswith("line 3: no column that holds the reply; there are x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "--model", "nowhere", "x"], "nowhere: no manifest.json there; name a folder that `bounceml train --out` wrote"),
        (
            ["predict", "-o", "no/such/folder/x", "x"],
            "no/such/folder/x: cannot be written (No such file or directory); name another file with -o",
        ),
        (["evaluate", "no/such.jsonl"], "no/such.jsonl: cannot be read as UTF-8 text"),
        (["train", "--data", "nowhere"], "nowhere/train.toml: not usable training settings"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"bounceml: {message}")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("threshold", ["1.5", "-1", "much"])
def test_threshold_is_a_probability(threshold: str) -> None:
    assert run("predict", "--threshold", threshold, "x").returncode == 2


def test_threshold_of_one_leaves_the_model_out() -> None:
    row = verdicts(run("predict", "--threshold", "1", "--to", "jsonl", "552 5.2.2 mailbox full"))[0]
    assert row["decided_by"] in ("rule", "code")


def test_unknown_category_in_the_data_names_file_and_row(tmp_path: Path) -> None:
    labelled = tmp_path / "mine.jsonl"
    row = {"text": "x", "category": "mailbox_ful", "language": "en", "provider": "p", "source": "s"}
    labelled.write_text(json.dumps(row) + "\n")
    done = run("evaluate", str(labelled))
    assert done.returncode == 2
    assert f"{labelled}:1: 'mailbox_ful' is not a category; `bounceml taxonomy` lists" in done.stderr.decode()


def test_reader_that_closes_the_pipe_is_no_error() -> None:
    command = f"yes '552 mailbox full' | head -20000 | {sys.executable} -m bounceml predict --to jsonl - | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, check=False, cwd=ROOT)
    assert json.loads(done.stdout)["category"] == "mailbox_full"
    assert done.stderr == b"bounceml: standard input: read as reply\n"


@pytest.mark.parametrize("command", ["", "predict", "report", "train", "evaluate", "taxonomy"])
def test_help_has_an_example(command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    assert not command or b"bounceml " + command.encode() in done.stdout


def test_taxonomy_lists_every_category(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["taxonomy", "--lang", "zh"]) == 0
    assert "收件人不存在" in capsys.readouterr().out


def test_evaluate_a_labelled_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled = tmp_path / "mine.jsonl"
    rows = [
        ("552 5.2.2 mailbox full", "mailbox_full"),
        ("550 5.1.1 no such user here", "user_unknown"),
        ("554 5.7.1 relay access denied", "relay_denied"),
    ]
    labelled.write_text(
        "".join(json.dumps({"text": t, "category": c, "language": "en", "provider": "p", "source": "s"}) + "\n" for t, c in rows)
    )
    assert main(["evaluate", str(labelled), "--model", str(MODEL), "--out", str(tmp_path / "report")]) == 0
    assert capsys.readouterr().out.startswith("v:")
    for name in ("report.json", "report.md", "report.html"):
        assert "split:file(mine.jsonl)" in (tmp_path / "report" / name).read_text()


def test_every_reader_can_be_named() -> None:
    from bounceml import cli, parsing

    assert set(cli._FORMATS) == {"auto", "maildir", *parsing.READERS}


def test_a_log_and_events_are_recognised(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_text(
        "Nov  3 10:00:00 mx postfix/qmgr[1]: 4F2A91C0: from=<a@example.net>, size=10, nrcpt=1 (queue active)\n"
        "Nov  3 10:00:01 mx postfix/smtp[7]: 4F2A91C0: to=<joe@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1, dsn=5.1.1, "
        "status=bounced (host mx.example.com[192.0.2.1] said: 550 5.1.1 User unknown (in reply to RCPT TO command))\n"
    )
    events = tmp_path / "hook.json"
    events.write_text(json.dumps([{"event": "bounce", "email": "amy@example.com", "reason": "552 5.2.2 mailbox full", "sg_event_id": "x"}]))
    done = run("predict", "--to", "jsonl", str(log), str(events))
    assert [(row["recipient"], row["category"], row["outcome"]) for row in verdicts(done)] == [
        ("joe@example.com", "user_unknown", "failed"),
        ("amy@example.com", "mailbox_full", "failed"),
    ]
    assert b"read as postfix" in done.stderr
    assert b"read as events" in done.stderr


def test_a_pasted_log_line_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    line = "Nov  3 10:00:01 mx postfix/smtp[7]: 4F2A91C0: to=<joe@example.com>, relay=none, dsn=5.4.4, status=bounced (Host not found)"
    assert main(["predict", "--to", "jsonl", line]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["recipient"], row["category"], row["reply"]) == ("joe@example.com", "host_unknown", "Host not found")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a socket that keeps the borders between writes")
def test_a_write_holds_whole_rows(tmp_path: Path) -> None:
    # Processes that append to one file (README, "From a mail server") would tear each other's rows apart otherwise.
    replies = tmp_path / "replies.txt"
    replies.write_text("\n".join(f"550 5.1.1 user {number} unknown {'here ' * (number * 40)}" for number in range(100)))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "bounceml", "predict", "--format", "reply", "--to", "jsonl", str(replies)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with ours, subprocess.Popen(command, stdout=theirs, cwd=ROOT, env=environment):
        theirs.close()
        writes = list(iter(partial(ours.recv, 1 << 20), b""))
    assert all(write.endswith(b"\n") for write in writes)
    assert sum(write.count(b"\n") for write in writes) == 100


def test_rows_are_utf_8_in_every_locale() -> None:
    done = run("predict", "--to", "jsonl", "--lang", "zh", "550 CoremailSys:System is busy.", PYTHONIOENCODING="latin-1")
    assert verdicts(done)[0]["remedy"].startswith("请稍后")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_one_sentence() -> None:
    command = [sys.executable, "-m", "bounceml", "predict", "--to", "jsonl", "552 5.2.2 mailbox full"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == b"bounceml: standard output: cannot be written (No space left on device); make room there and run again\n"
