"""How many rows a second Spark judges on two cores, and where the time goes: `python -m bench.spark [--rows 2000000] [--times 3]`.

The table has the columns id, recipient and reply, of 3,000 templates (see streams.py), and lies in Parquet files. Each figure is taken
after the same job ran once on a tenth of the files, so without the start of Spark and its Python processes. "noop" judges and writes
nothing; "parquet" writes the verdicts, "few" five of their columns; "copy" reads and writes the table without a verdict, and
"one process" is ``arrow.classify`` without Spark. Other programs slow a job down, and its processor time less: where they wait for the
same memory and caches, it grows, too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from bench import streams
from bounceml import Classifier, arrow, process, spark

FILES = 20
TEMPLATES = 3000


def write_table(folder: Path, rows: int) -> None:
    """Write the table to judge, unless it is there."""
    if folder.exists():
        return
    part = folder.with_suffix(".part")
    part.mkdir(parents=True)
    stream = streams.replies(rows, TEMPLATES)
    for number in range(FILES):
        chunk = list(islice(stream, rows // FILES))
        first = number * (rows // FILES)
        recipients, replies = zip(*chunk, strict=True)
        columns = {"id": pa.array(range(first, first + len(chunk))), "recipient": recipients, "reply": replies}
        pq.write_table(pa.table(columns), part / f"{number:02}.parquet")
    part.rename(folder)


def session(master: str, settings: list[str]) -> SparkSession:
    """Start Spark on two cores."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(master).appName("bounceml bench")
    fixed = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.executorEnv.PYTHONPATH": str(Path(__file__).parents[1]),
        "spark.sql.files.maxPartitionBytes": "16m",
    }
    for name, value in (fixed | dict(setting.split("=", 1) for setting in settings)).items():
        builder = builder.config(name, value)
    found = builder.getOrCreate()
    found.sparkContext.setLogLevel("ERROR")
    return found


def processes() -> dict[int, str]:
    """Return this process and all it started, by number, with the name of the program and what /proc tells of each behind it."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            stats[int(path.parent.name)] = path.read_text().split("(", 1)[1]
    ours = [os.getpid()]
    for pid in ours:
        ours += [child for child, told in stats.items() if int(told.rsplit(") ", 1)[1].split()[1]) == pid]
    return {pid: stats[pid] for pid in ours}


def processor_seconds() -> Counter[str]:
    """Return the processor time of this process and all it started, those that ended with them, by the name of the program."""
    found: Counter[str] = Counter()
    for told in processes().values():
        name, rest = told.rsplit(") ", 1)
        found[name] += sum(map(int, rest.split()[11:15])) / os.sysconf("SC_CLK_TCK")
    return found


def most_memory() -> str:
    """Return the most memory that a process of each program ever had."""
    found: dict[str, int] = {}
    for pid, told in processes().items():
        name = told.rsplit(") ", 1)[0]
        with contextlib.suppress(OSError, IndexError):
            peak = int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
            found[name] = max(found.get(name, 0), peak if pid != os.getpid() else 0)
    return ", ".join(f"{name} {megabytes} MB" for name, megabytes in found.items())


def measured(rows: int, job: Callable[[], object]) -> str:
    """Return the rows a second of a job, and the processor time that each row took."""
    before, began = processor_seconds(), time.perf_counter()
    job()
    passed, after = time.perf_counter() - began, processor_seconds()
    each = {name: 1e6 * (seconds - before[name]) / rows for name, seconds in after.items()}
    told = ", ".join(f"{name} {spent:.1f}" for name, spent in each.items() if spent >= 0.05)
    return f"{rows / passed:>9,.0f} rows/s · {sum(each.values()):.1f} us of processor a row ({told}) · load {os.getloadavg()[0]:.1f}"


def sinks(df: DataFrame, out: Path) -> dict[str, Callable[[], None]]:
    """Return the jobs that are measured, by name."""
    found = spark.classify(df)
    return {
        "noop": lambda: found.write.format("noop").mode("overwrite").save(),
        "parquet": lambda: found.write.mode("overwrite").parquet(str(out)),
        "few": lambda: found.select("id", "recipient", "category", "action", "suppress").write.mode("overwrite").parquet(str(out)),
        "copy": lambda: df.write.mode("overwrite").parquet(str(out)),
    }


def one_process(files: list[Path]) -> str:
    """Measure this process alone."""
    table = pq.read_table(files[0])
    classifier = Classifier.load()
    arrow.classify(table.slice(0, 20_000), classifier=classifier)
    process.for_many()
    return measured(len(table), lambda: arrow.classify(table, classifier=classifier))


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--master", default="local[2]", help="or local-cluster[2,1,1024]: two executors of one core each")
    parser.add_argument("--table", type=Path, default=Path(tempfile.gettempdir(), "bounceml-bench"), help="folder for the tables")
    parser.add_argument("--conf", action="append", default=[], metavar="NAME=VALUE", help="a setting of Spark")
    parser.add_argument("--jobs", nargs="*", default=["noop", "parquet", "few", "copy"])
    arguments = parser.parse_args()

    folder = arguments.table / f"{arguments.rows}"
    write_table(folder, arguments.rows)
    files = sorted(folder.glob("*.parquet"))
    print(f"{'one process':<28}{one_process(files)}", flush=True)
    spark_session = session(arguments.master, arguments.conf)
    out = arguments.table / "out"
    warm = sinks(spark_session.read.parquet(*map(str, files[: FILES // 10])), out)
    jobs = sinks(spark_session.read.parquet(str(folder)), out)
    for name in arguments.jobs:
        warm[name]()
        for _ in range(arguments.times):
            print(f"{f'{arguments.master} {name}':<28}{measured(arguments.rows, jobs[name])}", flush=True)
    print(f"most memory of a process: {most_memory()}")
    if "parquet" in arguments.jobs:
        jobs["parquet"]()
        read, written = (sum(path.stat().st_size for path in place.glob("*.parquet")) / arguments.rows for place in (folder, out))
        print(f"parquet: {read:.0f} bytes a row read, {written:.0f} written")
    spark_session.stop()


if __name__ == "__main__":
    main()
