"""Verdicts on a real Spark cluster: two executors, each a JVM of its own with Python workers of its own."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import DATA, MODEL, ROOT, rows

from bounceml.cli import main

pytest.importorskip("pyspark")
if not shutil.which("java"):
    pytest.skip("Spark needs Java", allow_module_level=True)

import bounceml
from bounceml import spark
from bounceml.errors import InputError, UsageError
from bounceml.values import FIELDS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# pyspark 4 warns of pandas 3 where it is imported, and leaves its sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    from pyspark.sql import SparkSession

    place = tmp_path_factory.mktemp("cluster")
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # Spark's own default has no zone
        "spark.sql.warehouse.dir": str(place / "warehouse"),
        "spark.local.dir": str(place / "local"),
        "spark.executorEnv.PYTHONPATH": str(ROOT),  # the checkout that is tested; an installed package needs nothing
        "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1",  # starts in half the time
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("SPARK_WORKER_DIR", str(place / "work"))
        builder = SparkSession.builder.master("local-cluster[2,1,1024]").appName("bounceml tests")
        for name, value in settings.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        yield session
        session.stop()


LOGGED = "May  1 12:00:00 mx postfix/smtp[7]: 4F2A91C0: to=<{}@example.com>, relay=none, dsn=5.4.4, status=bounced (no such host)"
SENT_TO = (
    "to=joe@example.com, ann@example.com, delay=00:00:01, mailer=esmtp, relay=mx.example.com [192.0.2.1], dsn=5.1.1, stat=User unknown"
)


def examples(count: int) -> list[str]:
    """Replies of the data folder, of every file some."""
    found = [row["text"] for path in sorted((DATA / "examples").glob("*.jsonl")) for row in rows(path)]
    return found[:: max(1, len(found) // count)]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with columns of many types, among its replies a log line that tells of two recipients, an empty one and one too long."""
    path = tmp_path_factory.mktemp("table") / "bounces.parquet"
    replies = [*examples(800), f"May  1 12:00:00 mx sendmail[7]: x41A0: {SENT_TO}", "", None, "552 mailbox full " + "x" * 1_100_000]
    count = range(len(replies))
    columns = {
        "id": pa.array(count),
        "reply": replies,
        "email": [f"user{number}@example.com" for number in count],
        "status": ["sent"] * len(replies),
        "at": pa.array([1_700_000_000_000_000 + number for number in count], pa.timestamp("us", "UTC")),
        "tags": [["a", str(number)] for number in count],
        "more": [{"campaign": number, "input": None} for number in count],
        "cents": pa.array(count, pa.decimal128(12, 2)),
        "raw": [b"\xff"] * len(replies),
    }
    pq.write_table(pa.table(columns), path)
    return path


def told(path: Path) -> list[str]:
    """The rows of a table as lines that can be compared, whatever their order; without the place of a row, which Spark does not know."""
    found = [{name: value for name, value in row.items() if name not in ("source", "input")} for row in pq.read_table(path).to_pylist()]
    return sorted(json.dumps(row | {"error": row["error"] and row["error"].split(": ")[-1]}, default=str) for row in found)


def predicted(given: Path, out: Path, *more: str) -> list[str]:
    main(["predict", str(given), "--to", "parquet", "-o", str(out), *more])
    return told(out)


def test_verdicts_are_those_of_one_machine(cluster: SparkSession, table: Path, tmp_path: Path) -> None:
    found = spark.classify(cluster.read.parquet(str(table)).repartition(4))
    found.write.parquet(str(tmp_path / "spark"))
    assert told(tmp_path / "spark") == predicted(table, tmp_path / "one.parquet")


CELLS = [
    ("1", "sent", "552 5.2.2 mailbox full", ""),
    ("2", "", 'host said: 550 5.1.1 "joe", no\nsuch user', "a,b"),
    ("3", "späť", LOGGED.format("amy"), '"'),
    ("", "x", "", "退信"),
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_folder(cluster: SparkSession, tmp_path: Path, delimiter: str) -> None:
    (given := tmp_path / "given").mkdir()
    with (given / "part.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([("id", "status", "diagnostic", "note"), *CELLS])
    assert main(["predict", "--engine", "spark", str(given), "--to", "parquet", "-o", str(tmp_path / "spark")]) == 0
    assert told(tmp_path / "spark") == predicted(given / "part.csv", tmp_path / "one.parquet")


def test_json_folder_to_csv_and_json(cluster: SparkSession, tmp_path: Path) -> None:
    (given := tmp_path / "given").mkdir()
    lines = [{"id": number, "reply": reply, "n": number, "tags": ["a"]} for number, reply in enumerate(examples(50))]
    (given / "part.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for to in ("csv", "jsonl"):
        assert main(["predict", "--engine", "spark", str(given), "--scheme", "ses", "--to", to, "-o", str(tmp_path / to)]) == 0
    written = [io.StringIO(path.read_bytes().decode(), newline="") for path in (tmp_path / "csv").glob("*.csv")]
    cells = [row for lines_of in written for row in csv.DictReader(lines_of)]
    found = [row for path in (tmp_path / "jsonl").glob("*.json") for row in rows(path)]
    assert main(["predict", str(given), "--scheme", "ses", "--to", "jsonl", "-o", str(tmp_path / "one.jsonl")]) == 0
    one = {row["id"]: row for row in rows(tmp_path / "one.jsonl")}
    assert len(found) == len(cells) == len(one) == len(lines)
    for row in found:
        assert {name: value for name, value in row.items() if name not in ("source", "error")} == {
            name: value for name, value in (dict.fromkeys(row) | one[row["id"]]).items() if name not in ("source", "error")
        }
    for row in cells:
        same = one[row["id"]]
        assert (row["category"], row["cause"], row["scheme_label"]) == (same["category"], same["cause"], same["scheme_label"])
        assert json.loads(row["evidence"]) == same["evidence"]


def test_what_could_not_be_read_is_counted(cluster: SparkSession, table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--engine", "spark", str(table), "--to", "csv", "-o", str(tmp_path / "out")]) == 3
    assert "bounceml: 1 replies could not be read; their rows say why, in the column error" in capfd.readouterr().err


def test_own_model_policy_and_rules_travel(cluster: SparkSession, tmp_path: Path) -> None:
    """The files are gone before the first row is read, so nobody can have opened them where they lay."""
    own = shutil.copytree(MODEL, tmp_path / "own")
    manifest = json.loads((own / "manifest.json").read_text()) | {"name": "ours"}
    (own / "manifest.json").write_text(json.dumps(manifest))
    (policy := tmp_path / "policy.toml").write_text('[category.mailbox_full]\naction = "review"\n')
    (rules := tmp_path / "rules.toml").write_text(
        '[[rule]]\nid = "ours"\ncategory = "content_rejected"\nlabel = "quarantine"\npattern = "in quarantine"\n'
        'hit = "550 in quarantine"\nmiss = "550 refused"\n'
    )
    df = cluster.createDataFrame([("552 mailbox full",), ("550 held in quarantine",)], "reply string")
    found = spark.classify(df, model=own, policy=policy, rules=rules, lang="zh", scheme="powermta", audience="admin")
    shutil.rmtree(own)
    policy.unlink()
    rules.unlink()
    assert found.columns == [*FIELDS, "scheme_label", "user_label", "input_reply"]
    full, held = sorted(found.collect(), key=lambda row: row["category"], reverse=True)
    assert (full["action"], full["user_label"], full["scheme_label"]) == ("review", "", "quota-issues")
    assert (held["category"], held["user_label"], held["decided_by"]) == ("content_rejected", "quarantine", "rule")
    assert full["model"].startswith("ours ")
    assert "邮箱" in full["cause"]


def test_executors_need_no_scikit_learn(cluster: SparkSession) -> None:
    shipped = spark._shipped({}, {})
    unwanted = ("sklearn", "scipy", "joblib", "bounceml.learning")

    def probe(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in spark._judged(batches, shipped, "reply"):
            yield pa.record_batch({"category": batch["category"], "modules": [",".join(set(sys.modules) & set(unwanted))] * len(batch)})

    df = cluster.createDataFrame([("552 mailbox full",), ("你的邮件被退回：用户不存在",)], "reply string")
    found = df.mapInArrow(probe, "category string, modules string").collect()
    assert sorted(tuple(row) for row in found) == [("mailbox_full", ""), ("user_unknown", "")]


def test_a_killed_executor_loses_nothing(cluster: SparkSession, table: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    def slow(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Tell the process of the executor, whose child is pyspark's daemon, whose child this is; and take some time."""
        executor = Path(f"/proc/{os.getppid()}/stat").read_text().rsplit(") ", 1)[1].split()[1]
        (marks / f"{executor}-{time.time_ns()}").touch()
        time.sleep(1)
        yield from batches

    df = cluster.read.parquet(str(table)).repartition(6)
    found = spark.classify(df.mapInArrow(slow, df.schema))
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(found.write.parquet, str(tmp_path / "spark"))
        while len(list(marks.iterdir())) < 3:
            assert not job.done()
            time.sleep(0.05)
        last = max(marks.iterdir(), key=lambda mark: mark.name.split("-")[1])
        os.kill(int(last.name.split("-")[0]), signal.SIGKILL)
        job.result()
    assert len(list(marks.iterdir())) > 6  # some were tried again
    assert told(tmp_path / "spark") == predicted(table, tmp_path / "one.parquet")


@pytest.mark.parametrize("form", ["parquet", "json"])
def test_structured_streaming(cluster: SparkSession, table: Path, tmp_path: Path, form: str) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    df = cluster.read.parquet(str(table)).select("id", "reply", "email").limit(200)
    df.repartition(2).write.format(form).save(str(given))
    stream = spark.classify(cluster.readStream.schema(df.schema).format(form).load(str(given)))
    writer = stream.writeStream.format("parquet").option("checkpointLocation", str(tmp_path / "checkpoint"))
    for _ in range(2):  # the second finds nothing new
        assert writer.trigger(availableNow=True).start(str(out)).awaitTermination(120)
    found = cluster.read.schema(stream.schema).parquet(str(out))
    assert sorted(map(str, found.collect())) == sorted(
        map(str, spark.classify(cluster.read.schema(df.schema).format(form).load(str(given))).collect())
    )


def test_columns_that_differ_in_case_only(cluster: SparkSession, tmp_path: Path) -> None:
    df = cluster.createDataFrame([("7", "552 full", "a", "b")], "ID string, Reply string, Status string, input string")
    found = spark.classify(df, column="Reply")
    found.write.parquet(str(tmp_path / "out"))
    row = found.first()
    assert row is not None
    assert (row["category"], row["input_ID"], row["input_Reply"], row["input_Status"], row["input"]) == (
        *("mailbox_full", "7", "552 full", "a"),
        "b",
    )


# --- where it cannot be done ------------------------------------------------------------------------------------


def test_what_is_wrong_is_told_before_the_job_starts(cluster: SparkSession, tmp_path: Path) -> None:
    df = cluster.createDataFrame([("552 full",)], "diagnosis string")
    with pytest.raises(InputError, match="no column 'reply'; there are diagnosis"):
        spark.classify(df)
    with pytest.raises(UsageError, match="no scheme 'other'"):
        spark.classify(df, "diagnosis", scheme="other")
    with pytest.raises(UsageError, match="two columns are called 'diagnosis'"):
        spark.classify(df.select("diagnosis", "diagnosis"), "diagnosis")


def test_another_version_on_an_executor() -> None:
    with pytest.raises(UsageError, match=r"bounceml is of version 0\.0 on the driver"):
        spark._classifier(spark._shipped({}, {})._replace(version="0.0"))


def test_folders_that_are_there_or_not(cluster: SparkSession, table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    command = ["predict", "--engine", "spark", "--to", "parquet", "-o", str(tmp_path / "there")]
    assert main([*command, str(table)]) == 2
    assert main([*command, str(tmp_path / "none.csv")]) == 3
    assert main([*command, str(tmp_path / "there")]) == 2
    assert main([*command, str(table), "x.csv"]) == 2
    there = tmp_path / "there"
    assert [line for line in capfd.readouterr().err.splitlines() if line.startswith("bounceml")] == [
        f"bounceml: {there} is there already; remove it, or name another folder with -o",
        f"bounceml: Spark finds no such file or folder: {tmp_path}/none.csv",
        f"bounceml: {there}: no suffix that tells what is in them; name one form with --format: parquet, csv, jsonl",
        f"bounceml: {table}, x.csv: suffixes of csv and parquet; name one form with --format: parquet, csv, jsonl",
    ]


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (["--to", "csv"], "standard input"),
        (["--to", "csv", "-"], "standard input"),
        (["--to", "csv", "imap://mail.example.com/INBOX"], "a mailbox"),
        (["--to", "csv", "--format", "mbox", "a"], "--format mbox"),
        (["a"], "--to text"),
        (["--to", "suppression", "a"], "--to suppression"),
        (["--to", "csv", "--explain", "a"], "--explain"),
        (["--to", "csv", "--jobs", "2", "a"], "--jobs"),
    ],
)
def test_what_makes_no_sense_in_a_cluster(arguments: list[str], refused: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--engine", "spark", "-o", "x", *arguments]) == 2
    told = f"bounceml: {refused} is nothing for --engine spark, which reads and writes folders of parquet, csv, jsonl\n"
    assert capsys.readouterr().err == told


def test_an_output_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--engine", "spark", "--to", "csv", "a"]) == 2
    assert capsys.readouterr().err == "bounceml: Spark writes a folder; name it with -o\n"


def test_missing_pyspark_names_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.errors", None)
    monkeypatch.delitem(sys.modules, "bounceml.spark")
    monkeypatch.delattr(bounceml, "spark")
    assert main(["predict", "--engine", "spark", "--to", "csv", "-o", "x", "a"]) == 2
    assert "pip install 'bounceml[spark]'" in capsys.readouterr().err


def test_missing_java_is_told(table: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"  # what Spark's script needs, but for Java
    tools.mkdir()
    for tool in ("bash", "env", "dirname", "ps"):
        if found := shutil.which(tool):
            (tools / tool).symlink_to(found)
    command = [sys.executable, "-m", "bounceml", "predict", "--engine", "spark", str(table), "--to", "csv", "-o", str(tmp_path / "out")]
    environment = {"PATH": str(tools), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "bounceml: Spark needs Java; install version 17 or later, or say where it is in JAVA_HOME" in done.stderr
