"""Tables in and out: every column of a row is carried to its verdict, whatever the two formats are."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import conftest
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

import bounceml
from bounceml import Classifier, output
from bounceml.cli import main
from bounceml.parsing import rows
from bounceml.values import FIELDS, Reply, Verdict

TABLE = {
    "id": ["1", "2"],
    "email": ["joe@example.com", "amy@example.com"],
    "diagnostic": ["552 5.2.2 mailbox full", "550 5.1.1 no such user"],
}
MORE = {"campaign": ["spring", ""], "status": ["sent", "sent, late"], "input": ["a", "b"]}


def table(place: Path, kind: str, columns: dict[str, list[Any]]) -> Path:
    path = place / f"given.{kind}"
    found = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if kind == "parquet":
        pq.write_table(pa.table(columns), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in found))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(found)
    return path


def written(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return found
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().split("\n") if line]
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))


def predict(given: Path | list[Path], out: Path, *more: str) -> int:
    inputs = [str(path) for path in (given if isinstance(given, list) else [given])]
    return main(["predict", *inputs, "--to", out.suffix[1:], "-o", str(out), *more])


@pytest.mark.parametrize("to", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_column_is_carried(tmp_path: Path, kind: str, to: str) -> None:
    out = tmp_path / f"out.{to}"
    assert predict(table(tmp_path, kind, TABLE | MORE), out, "--column", "diagnostic") == 0
    found = written(out)
    assert [row["id"] for row in found] == ["1", "2"]
    assert [row["category"] for row in found] == ["mailbox_full", "user_unknown"]
    assert [row["status"] for row in found] == ["5.2.2", "5.1.1"]
    assert [(row["email"], row["diagnostic"], row["campaign"], row["input_status"]) for row in found] == [
        ("joe@example.com", "552 5.2.2 mailbox full", "spring", "sent"),
        ("amy@example.com", "550 5.1.1 no such user", "", "sent, late"),
    ]
    assert [row["input"] for row in found] == (["a", "b"] if to == "jsonl" else ['{"input": "a"}', '{"input": "b"}'])
    assert list(found[0])[: len(FIELDS)] == list(FIELDS)


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_columns_of_another_table_go_into_the_last_column(tmp_path: Path, to: str) -> None:
    first = table(tmp_path, "csv", TABLE | {"campaign": ["a", "b"]})
    second = tmp_path / "second.jsonl"
    second.write_text('{"text": "552 mailbox full", "campaign": "c", "tags": ["x", 1.5]}\n')
    mail = ROOT / "tests" / "mail" / "qmail.eml"
    assert predict([first, second, mail], tmp_path / f"out.{to}") == 0
    found = written(tmp_path / f"out.{to}")
    assert [row["campaign"] or None for row in found[:4]] == ["a", "b", "c", None]
    given = json.loads(found[2].get("input") or "{}") | {name: found[2][name] for name in ("text", "tags") if name in found[2]}
    assert (given["text"], given["tags"]) == ("552 mailbox full", ["x", 1.5] if to == "csv" else '["x", 1.5]')
    assert not found[3]["input"]


def test_types_of_a_parquet_table_are_kept(tmp_path: Path) -> None:
    when = datetime(2026, 1, 2, 3, 4, 5)
    given = {"text": ["552 full", "552 full"], "n": [1, None], "x": [0.5, float("nan")], "at": pa.array([when, None], pa.timestamp("ns"))}
    path = tmp_path / "given.parquet"
    pq.write_table(pa.table({**given, "raw": [b"\xff", None], "odd": pa.array([1, 2], pa.timestamp("ns"))}), path)
    assert predict(path, tmp_path / "out.parquet") == 0
    assert predict(path, tmp_path / "out.jsonl") == 0
    found = written(tmp_path / "out.parquet")
    assert (found[0]["n"], found[0]["x"], found[0]["at"], found[0]["raw"], found[1]["n"]) == (1, 0.5, when, b"\xff", None)
    assert found[0]["odd"] == "1970-01-01 00:00:00.000000001"
    lines = written(tmp_path / "out.jsonl")
    assert (lines[0]["at"], lines[0]["raw"], lines[1]["x"]) == ("2026-01-02T03:04:05", "\\xff", None)
    assert pq.read_schema(tmp_path / "out.parquet").field("reply_code").type == pa.int32()


def test_value_of_another_type_than_its_column_is_kept_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bounceml.stream._ROWS", 2)
    monkeypatch.setattr("bounceml.work._AT_ONCE", 2)
    path = tmp_path / "given.jsonl"
    values = [7, 8, "nine", {"ten": 10}, None, 2**70]
    path.write_text("".join(json.dumps({"text": "552 full", "n": value}) + "\n" for value in values))
    assert predict(path, tmp_path / "out.parquet") == 0
    found = [row["n"] if row["input"] is None else json.loads(row["input"])["n"] for row in written(tmp_path / "out.parquet")]
    assert found == [7, 8, "nine", '{"ten": 10}', None, 2**70]


def test_half_a_surrogate_pair_is_written(tmp_path: Path) -> None:
    path = tmp_path / "given.jsonl"
    path.write_text('{"text": "552 full \\ud800", "note": "\\udc00"}\n')
    for to in ("csv", "jsonl", "parquet"):
        assert predict(path, tmp_path / f"out.{to}") == 0
        assert written(tmp_path / f"out.{to}")[0]["reply"].startswith("552 full")


def test_broken_rows_keep_what_they_have(tmp_path: Path) -> None:
    path = tmp_path / "given.csv"
    path.write_text("id,campaign,,campaign,text\n1,a,b,c,552 full,more\n2,d\n")
    assert predict(path, tmp_path / "out.jsonl") == 3
    first, second = written(tmp_path / "out.jsonl")
    assert {name: first[name] for name in list(first)[len(FIELDS) :]} == {
        "campaign": "a",
        "column_3": "b",
        "column_4": "c",
        "text": "552 full",
        "column_6": "more",
    }
    assert (second["id"], second["campaign"], second["error"]) == ("2", "d", f"{path}:3: too few columns for 'text'; mend the row")


def test_rows_behind_a_quote_that_is_never_closed_are_read() -> None:
    lines = [b"id,text\n", b'1,"552 full\n', *[b"x" * 70_000 + b"\n"] * 2, b"2,550 no such user\n"]
    found = list(rows.read_csv(lines, "a", None))
    assert found[0].error == "a:2: a quote opens in this row and is not closed; mend the row (those below are read)"
    assert [(reply.source, reply.error is None) for reply in found[1:]] == [("a:3", False), ("a:4", False), ("a:5", True)]
    assert found[-1].id == "2"


@pytest.mark.parametrize("rows_below", [0, 1, 3])
def test_quote_that_is_open_at_the_end(rows_below: int) -> None:
    lines = [b"id,text\n", b'0,"550 no\nsuch user"\n', b'1,"552 full\n', *(b"%d,550 no\n" % n for n in range(2, 2 + rows_below))]
    found = list(rows.read_csv([part + b"\n" for line in lines for part in line.split(b"\n")[:-1]], "a", None))
    assert [(reply.id, reply.source) for reply in found[:2]] == [("0", "a:3"), (None, "a:4")]
    assert found[1].error
    assert [(reply.id, reply.text) for reply in found[2:]] == [(str(n), "550 no") for n in range(2, 2 + rows_below)]


def test_quote_that_is_open_in_the_header() -> None:
    (reply,) = rows.read_csv([b'id,"text\n', b"1,552 full\n"], "a", None)
    assert reply.error == "a: a quote opens in the header line and is not closed; mend it"


@given(st.lists(st.text(alphabet='a,"\n', max_size=8).map(lambda line: f"{line}\n"), max_size=9))
def test_every_line_of_a_table_is_read(lines: list[str]) -> None:
    given_lines = [f"{part}\n" for line in lines for part in line.split("\n")[:-1]]
    numbers = [number for number, _ in rows.table(iter(given_lines))]
    assert numbers == sorted(numbers)
    assert (numbers[-1] if numbers else 0) == len(given_lines)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8)))
def test_no_column_is_lost_by_its_name(columns: dict[str, str]) -> None:
    given = columns | {"status": "a", "input_status": "b"}
    verdict = Classifier.load().classify(Reply("552 mailbox full", columns=given))
    assert len(verdict.to_dict()) == len(FIELDS) + len(given)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "status", "input", "x\r\ny"]), st.text(max_size=8), min_size=1), min_size=1))
def test_csv_loses_nothing_whatever_the_rows_have(given: list[dict[str, str]]) -> None:
    row = Classifier.load().classify("552 mailbox full")
    table = conftest.written("csv", [row._replace(columns=columns) for columns in given])
    found = list(csv.DictReader(io.StringIO(table, newline="")))
    for verdict, columns in zip(found, given, strict=True):
        rest = json.loads(verdict["input"] or "{}")
        for name, value in columns.items():
            name = {"status": "input_status"}.get(name, name)
            assert rest.get(name, verdict.get(name)) == value


# --- where it cannot be done ------------------------------------------------------------------------------------


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "bounceml", *arguments], input=stdin, capture_output=True, check=False, cwd=ROOT)


def test_parquet_needs_a_file() -> None:
    done = run("predict", "--to", "parquet", "552 full")
    assert (done.returncode, done.stderr) == (2, b"bounceml: Parquet is no text for a terminal or a pipe; name a file with -o\n")


def test_missing_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    given = table(tmp_path, "parquet", TABLE)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.delitem(sys.modules, "bounceml.arrow", raising=False)
    monkeypatch.delattr(bounceml, "arrow", raising=False)
    assert predict(given, tmp_path / "out.jsonl") == 3
    assert predict(ROOT / "tests" / "mail" / "qmail.eml", tmp_path / "out.parquet") == 2
    assert capsys.readouterr().err.count("pip install 'bounceml[parquet]'") == 2


def test_parquet_from_a_pipe_and_cut_off(tmp_path: Path) -> None:
    whole = table(tmp_path, "parquet", TABLE).read_bytes()
    done = run("predict", "--to", "jsonl", "-", stdin=whole)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["1", "2"]
    for raw in (whole[:100], whole[:-3], whole.replace(b"mailbox full", b"mailbo\xff full")):
        done = run("predict", "--to", "jsonl", "-", stdin=raw)
        assert done.returncode in (0, 3)
        assert b"Traceback" not in done.stderr
    assert b"not readable as Parquet" in run("predict", "--to", "jsonl", "-", stdin=whole[:100]).stdout


def test_parquet_of_any_size_in_little_memory(tmp_path: Path) -> None:
    """The table is 200 MB in memory, one row group; reading and writing takes a fraction of it."""
    path = tmp_path / "large.parquet"
    texts = [f"552 mailbox full {'x' * 900} {number % 7}" for number in range(2000)]
    pq.write_table(pa.table({"text": pa.array(texts * 100, pa.string()), "n": list(range(200_000))}), path, row_group_size=200_000)
    code = (
        "import sys; from bounceml import parsing; count = sum(1 for _ in parsing.read(open(sys.argv[1], 'rb'), 'parquet'))\n"
        "print(count, [int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')][0] // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, cwd=ROOT)
    count, megabytes = map(int, done.stdout.split())  # what resource tells would count this process, too
    assert count == 200_000
    assert megabytes < 200


# --- a killed run -----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the process."""


def test_killed_run_goes_on_below_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "CHECKPOINT_EVERY", 0.0)
    first = table(tmp_path, "csv", TABLE | {"campaign": ["a\nb", "c"], "status": ["d", "e"]})
    second = tmp_path / "second.jsonl"
    second.write_text('{"text": "552 mailbox full", "other": 1}\n' * 2)
    ready = Classifier.load().classify("552 mailbox full")

    def answer(out: Path, judged: int) -> None:
        def judge(reply: Reply) -> Verdict:
            if next(count) == judged:
                raise Killed
            return ready

        count = iter(range(sys.maxsize))
        conftest.answered(out, {"inputs": [str(first), str(second)], "to": "csv"}, judge)

    answer(tmp_path / "whole", sys.maxsize)
    for point in range(4):
        with pytest.raises(Killed):
            answer(tmp_path / f"out{point}", point)
        answer(tmp_path / f"out{point}", sys.maxsize)
        assert (tmp_path / f"out{point}").read_bytes() == (tmp_path / "whole").read_bytes()
    assert len(written_csv(tmp_path / "whole")) == 4
    assert not [name for name in os.listdir(tmp_path) if name.endswith((".part", ".run"))]


def written_csv(path: Path) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))


_SES = Classifier.load(scheme="ses")


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            Reply,
            text=st.text() | st.just("552 5.2.2 mailbox full"),
            id=st.none() | st.text(),
            recipient=st.none() | st.text(),
            columns=st.none()
            | st.dictionaries(st.text(), st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False), max_size=3),
            error=st.none() | st.just("x: cannot be read"),
            outcome=st.sampled_from(["unknown", "failed", "delivered"]),
        ),
        max_size=4,
    )
)
def test_a_json_line_is_the_verdict(replies: list[Reply]) -> None:
    verdicts = list(_SES.classify_all(replies))
    out = conftest.written("jsonl", verdicts)
    assert out.count("\n") == len(verdicts) == len(out.splitlines())
    assert [json.loads(line) for line in out.splitlines()] == [json.loads(json.dumps(verdict.to_dict())) for verdict in verdicts]
