"""Verdicts on a real Spark cluster: two executors, each a JVM of its own with Python workers of its own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import DATA, ROOT, rows

from bounceml.cli import main

pytest.importorskip("pyspark")
if not shutil.which("java"):
    pytest.skip("Spark needs Java", allow_module_level=True)

from bounceml import spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Spark starts and stops in threads and processes of its own, whose sockets are closed when the process ends.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning")]


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


def examples(count: int) -> list[str]:
    """Replies of the data folder, of every file some."""
    found = [row["text"] for path in sorted((DATA / "examples").glob("*.jsonl")) for row in rows(path)]
    return found[:: max(1, len(found) // count)]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with columns of many types, among its replies a log line that tells of two recipients, an empty one and one too long."""
    path = tmp_path_factory.mktemp("table") / "bounces.parquet"
    replies = [*examples(1500), "", None, "552 mailbox full " + "x" * 1_100_000]
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
