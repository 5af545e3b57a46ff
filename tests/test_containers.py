"""Folders, mailboxes and compressed files: every mail once, each with its place, in bounded memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from bounceml import parsing, stream
from bounceml.parsing import containers, rows
from bounceml.values import Reply

MAILS = sorted((ROOT / "tests" / "mail").glob("*.eml"))
TOLD = "From MAILER-DAEMON Thu Jan  1 00:00:00 2026\n"


def mail(user: str, text: str = "550 5.1.1 No such user") -> str:
    return f"From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n\n<{user}@example.com>:\n{text}\n"


def read(*arguments: object, form: str = "auto") -> list[Reply]:
    return list(stream.replies(list(map(str, arguments)), form))


def predict(*arguments: object, stdin: bytes = b"", **more: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bounceml", "predict", "--to", "jsonl", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, cwd=ROOT, **more)


# --- mbox -------------------------------------------------------------------------------------------------------


def test_mbox_gives_each_mail_its_number(tmp_path: Path) -> None:
    box = tmp_path / "bounces"
    box.write_text("\n".join(TOLD + mail(user) for user in ("joe", "amy", "王")))
    assert [(reply.recipient, reply.source) for reply in read(box)] == [
        ("joe@example.com", f"{box}#1"),
        ("amy@example.com", f"{box}#2"),
        ("王@example.com", f"{box}#3"),
    ]


def test_mbox_answers_as_its_mails_do_alone(tmp_path: Path) -> None:
    box = tmp_path / "all.mbox"
    box.write_bytes(b"".join(TOLD.encode() + path.read_bytes().replace(b"\nFrom ", b"\n>From ") + b"\n\n" for path in MAILS))
    alone = [reply._replace(source=f"{box}#{number}") for number, path in enumerate(MAILS, 1) for reply in read(path)]
    assert read(box) == alone


@pytest.mark.parametrize(
    ("name", "box", "expected"),
    [
        ("CRLF", f"{TOLD}To: a\n\nx\n\n{TOLD}To: b\n\n".replace("\n", "\r\n"), ["To: a\r\n\r\nx\r\n\r\n", "To: b\r\n\r\n"]),
        ("mboxrd", f"{TOLD}To: a\n\n>From b\n>>From c\n", ["To: a\n\nFrom b\n>From c\n"]),
        ("broken header", f"{TOLD}no header: here\nText\n\n{TOLD}To: b\n\n", ["no header: here\nText\n\n", "To: b\n\n"]),
        ("no empty line between", f"{TOLD}To: a\n\nx\n{TOLD}To: b\n\n", ["To: a\n\nx\n", "To: b\n\n"]),
        ("no time", "From joe\nTo: a\n\nx\n\nFrom amy\nTo: b\n\n", ["To: a\n\nx\n\n", "To: b\n\n"]),
        ("a sentence", f"{TOLD}To: a\n\nFrom here on it is Monday.\n\nFrom today on\nnothing.\n", None),
        (
            "a zone in the time",
            "From 12@xxx Thu Jan 01 00:00:00 +0000 2026\nTo: a\n\n\nFrom - Thu Jan  1 00:00:00 2026\nx\n",
            ["To: a\n\n\n", "x\n"],
        ),
        ("nothing in it", f"{TOLD}\n{TOLD}To: b\n", ["\n", "To: b\n"]),
        ("words before the first", f"lost\n\n{TOLD}To: b\n", ["lost\n\n", "To: b\n"]),
        ("cut off", f"{TOLD}To: a\n\nx", ["To: a\n\nx"]),
        ("empty", "", []),
    ],
)
def test_where_mails_part(name: str, box: str, expected: list[str] | None) -> None:
    whole = [box.removeprefix(TOLD)]
    assert [raw.decode() for raw in containers.mails(io.BytesIO(box.encode())) if raw is not None] == (
        whole if expected is None else expected
    )


@given(st.lists(st.binary(min_size=1).map(lambda raw: b"To: a\n\n" + raw.replace(b"From", b"from").replace(b">", b"")), max_size=5))
def test_no_byte_of_a_mailbox_is_lost(bodies: list[bytes]) -> None:
    box = b"".join(TOLD.encode() + body + b"\n\n" for body in bodies)
    assert list(containers.mails(io.BytesIO(box))) == [body + b"\n\n" for body in bodies]


def test_mail_that_is_too_large_is_an_error_and_the_next_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MAX_MAIL", 2**20)
    box = io.BytesIO(f"{TOLD}{mail('joe', 'x' * 2**20)}\n{TOLD}{mail('amy')}".encode())
    assert [raw and len(raw) for raw in containers.mails(box, 2**20)] == [None, len(mail("amy"))]
    alone = tmp_path / "large.eml"
    alone.write_text(mail("joe", "x" * 2**20))
    assert [reply.error for reply in read(alone)] == [f"{alone}: a mail of more than 1 MB; it was not read"]


# --- folders ----------------------------------------------------------------------------------------------------


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    for name in ("cur", "new", "tmp", ".Old/cur", ".Old/new"):
        (tmp_path / "Maildir" / name).mkdir(parents=True)
    folder = tmp_path / "Maildir"
    (folder / "new" / "1767225600.M1P1.mx").write_text(mail("new"))
    (folder / "cur" / "1767225500.M1P1.mx:2,S").write_text(mail("seen"))
    (folder / "tmp" / "1767225700.M1P1.mx").write_text(mail("half"))
    (folder / "dovecot-uidlist").write_text("3 V1 N3\n")
    (folder / ".Old" / "cur" / "1767225000.M1P1.mx:2,").write_text("no header at all\n" + mail("old"))
    return folder


def test_maildir_is_read_but_for_what_is_being_delivered(maildir: Path) -> None:
    assert [reply.recipient for reply in read(maildir)] == ["seen@example.com", "new@example.com", "old@example.com"]


def test_mail_that_is_read_meanwhile_is_found_again(maildir: Path) -> None:
    entries = stream.entries([str(maildir)])
    (maildir / "new" / "1767225600.M1P1.mx").rename(maildir / "cur" / "1767225600.M1P1.mx:2,S")
    assert next(iter(next(entries).replies)).recipient == "seen@example.com"
    keys = {entry.key for entry in stream.entries([str(maildir)])}
    assert f"0:{maildir}/1767225600.M1P1.mx" in keys
    reader = stream.entries([str(maildir)])
    next(reader)
    (maildir / "cur" / "1767225600.M1P1.mx:2,S").rename(maildir / "cur" / "1767225600.M1P1.mx:2,RS")
    found = [reply for entry in reader for reply in entry.replies]
    assert [(reply.recipient, reply.error) for reply in found] == [("new@example.com", None), ("old@example.com", None)]


def test_folder_is_read_with_all_in_it(tmp_path: Path) -> None:
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "a.eml").write_text(mail("joe"))
    (tmp_path / "b" / "42").write_text(mail("amy"))
    (tmp_path / "b" / "deep" / "box.gz").write_bytes(gzip.compress((TOLD + mail("eve") + "\n" + TOLD + mail("bob")).encode()))
    (tmp_path / "b" / "rows.csv").write_text("id,reply\n7,550 5.1.1 No such user\n")
    (tmp_path / "b" / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF\0")
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    said: list[str] = []
    entries = stream.entries([str(tmp_path)], say=said.append)
    found = [(reply.recipient or reply.id or reply.error, reply.source) for entry in entries for reply in entry.replies]
    assert found == [
        ("joe@example.com", f"{tmp_path}/a.eml"),
        ("amy@example.com", f"{tmp_path}/b/42"),
        (f"{tmp_path}/b/photo.jpg: neither a mail nor text; take it out of the folder", f"{tmp_path}/b/photo.jpg"),
        ("7", f"{tmp_path}/b/rows.csv:2"),
        ("eve@example.com", f"{tmp_path}/b/deep/box.gz#1"),
        ("bob@example.com", f"{tmp_path}/b/deep/box.gz#2"),
    ]
    assert said == [f"{tmp_path}: read as a folder of 1 csv, 2 eml, 1 mbox (gzip)"]


def test_empty_folder_has_no_rows_and_is_no_error(tmp_path: Path) -> None:
    done = predict(tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode() == f"bounceml: {tmp_path}: read as a folder of nothing new\n"


def test_own_output_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_text(mail("joe"))
    for _ in range(2):
        done = predict(tmp_path, "-o", tmp_path / "out.jsonl")
        assert done.returncode == 0
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1


# --- compression ------------------------------------------------------------------------------------------------


def zstd(raw: bytes) -> bytes:
    backport = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    packed: bytes = backport.compress(raw)
    return packed


PACK = {"gz": gzip.compress, "zst": zstd}
CONTENT = {
    "one.eml": mail("joe"),
    "box.mbox": f"{TOLD}{mail('joe')}\n{TOLD}{mail('amy')}",
    "rows.csv": "id,reply\n1,550 5.1.1 No such user\n2,552 mailbox full\n",
    "rows.jsonl": '{"id": 1, "text": "550 5.1.1 No such user"}\n',
    "lines.txt": "550 5.1.1 No such user\n552 mailbox full\n",
}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("name", CONTENT)
def test_compressed_file_is_read_as_its_content(tmp_path: Path, name: str, suffix: str) -> None:
    plain, packed = tmp_path / name, tmp_path / f"{name}.{suffix}"
    plain.write_text(CONTENT[name])
    packed.write_bytes(PACK[suffix](CONTENT[name].encode()))
    expected = [reply._replace(source=str(reply.source).replace(str(plain), str(packed))) for reply in read(plain)]
    assert read(packed) == expected
    packed.rename(tmp_path / "unnamed")
    if name != "rows.csv":  # a table is known by its name alone
        assert [reply.text for reply in read(tmp_path / "unnamed")] == [reply.text for reply in expected]


@pytest.mark.parametrize("suffix", PACK)
def test_what_comes_before_the_break_is_answered(tmp_path: Path, suffix: str) -> None:
    broken = tmp_path / f"lines.{suffix}"
    lines = b"".join(b"550 5.1.1 <%d-%d@example.com>: no such user\n" % (number, hash(number * 7.3)) for number in range(100_000))
    whole = PACK[suffix](lines)
    broken.write_bytes(whole[: len(whole) // 2])
    *answered, last = read(broken)
    assert len(answered) > 10_000
    assert [reply.text for reply in answered] == lines.decode().splitlines()[: len(answered)]
    assert last.error is not None
    assert "data are broken or cut off: " in last.error
    assert last.error.endswith(f"what comes after entry {len(answered)} was not read")


def test_compressed_twice_is_refused(tmp_path: Path) -> None:
    twice = tmp_path / "twice.gz"
    twice.write_bytes(gzip.compress(gzip.compress(b"550 no")))
    assert [reply.error for reply in read(twice)] == [f"{twice}: compressed twice; unpack it once"]


def test_missing_zstd_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "a.zst"
    packed.write_bytes(zstd(b"550 no"))
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    assert [reply.error for reply in read(packed)] == [
        f"{packed}: zstd data need a package more; install it with: pip install 'bounceml[zstd]'"
    ]


# --- standard input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("envelope", ["", TOLD])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_one_mail_on_standard_input_as_a_mail_server_pipes_it(envelope: str, pack: Any) -> None:
    done = predict(stdin=pack((envelope + mail("joe")).encode()))
    assert done.returncode == 0
    assert json.loads(done.stdout)["recipient"] == "joe@example.com"
    assert done.stderr.startswith(b"bounceml: standard input: read as " + (b"mbox" if envelope else b"eml"))


def test_mail_that_arrives_in_pieces() -> None:
    command = [sys.executable, "-m", "bounceml", "predict", "--to", "jsonl"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        for line in mail("joe").encode().splitlines(keepends=True):
            process.stdin.write(line)
            process.stdin.flush()
        out, _ = process.communicate()
    assert json.loads(out)["recipient"] == "joe@example.com"


def test_guess_is_told_once_and_only_where_there_was_one(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("552 mailbox full\n")
    assert predict(lines).stderr.decode() == f"bounceml: {lines}: read as reply\n"
    assert predict("--format", "reply", lines).stderr == b""
    assert predict("552 mailbox full", mail("joe")).stderr == b""


# --- bounds -----------------------------------------------------------------------------------------------------


def test_line_that_is_too_long_is_an_error_and_the_next_is_read(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_bytes(b"550 one\n" + b"x" * (containers.MAX_LINE + 10) + b"\n550 three\n" + b"y" * (3 * containers.MAX_LINE))
    assert [(reply.text, reply.source, bool(reply.error)) for reply in read(lines)] == [
        ("550 one", f"{lines}:1", False),
        ("", f"{lines}:2", True),
        ("550 three", f"{lines}:3", False),
        ("", f"{lines}:4", True),
    ]


@given(st.lists(st.binary(max_size=12)), st.integers(1, 10))
def test_every_line_has_a_row(lines: list[bytes], limit: int) -> None:
    raw = b"\n".join(line.replace(b"\n", b"") for line in lines)
    reader = containers.bounded(rows.read_lines, limit)
    places = [reply.source for reply in reader(io.BytesIO(raw), "f", None)]
    long = [number for number, line in enumerate(raw.split(b"\n"), 1) if len(line) + (number <= raw.count(b"\n")) > limit]
    assert [place for place in places if place in {f"f:{number}" for number in long}] == [f"f:{number}" for number in long]


def in_little_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (300 * 2**20, 300 * 2**20))


class Zeros(io.RawIOBase):
    """A stream of as many zero bytes as are asked for."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        taken = min(self.left, size)
        self.left -= taken
        return bytes(taken)


def bomb(path: Path, head: bytes, size: int) -> None:
    with gzip.open(path, "wb", compresslevel=1) as packed:
        packed.write(head)
        zeros = Zeros(size)
        while piece := zeros.read(2**22):
            packed.write(piece)
        packed.write(b"\n550 5.1.1 No such user\n")


@pytest.mark.parametrize("kind", ["line", "mail", "mbox"])
def test_half_a_gigabyte_in_a_small_file_is_an_error_in_little_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bomb.gz"
    head = {"line": b"552 mailbox full\n", "mail": mail("joe").encode(), "mbox": (TOLD + mail("joe")).encode()}[kind]
    bomb(path, head, 2**29)
    done = predict(path, preexec_fn=in_little_memory)
    assert done.returncode == 3, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if kind == "line":
        assert [bool(row["error"]) for row in found] == [False, True, False]
        assert found[1]["source"] == f"{path}:2"
    else:
        assert [row["error"].partition(": ")[2] for row in found] == ["a mail of more than 64 MB; it was not read"]


def test_recognition_takes_no_longer_for_folded_lines() -> None:
    assert parsing.recognise(b"A: x\r\n" + b" x\r\n" * 3000 + b"zzz") == "reply"


def test_mail_that_defeats_the_readers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from bounceml.parsing import mail as reader

    def fails(raw: bytes, source: str | None) -> Iterator[Reply]:
        raise RecursionError("too deep")

    monkeypatch.setattr(reader, "read", fails)
    assert [reply.error for reply in parsing.read_mail(b"x", "a.eml")] == [
        "a.eml: this mail could not be read (RecursionError: too deep); please report it"
    ]


def test_file_name_that_is_no_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.eml"
    Path(os.fsdecode(path)).write_text(mail("joe"))
    for more in ([], ["-o", tmp_path / "out.jsonl"]):
        done = predict(tmp_path, *more)
        assert done.returncode == 0, done.stderr
        row = json.loads((tmp_path / "out.jsonl").read_text() if more else done.stdout)
        assert os.fsencode(row["source"]) == path
