"""All figures on speed in one run, as Markdown: `make bench` writes them to BENCHMARKS.md.

Every figure of a stream stands beside those of `wc -l`, of a bare loop over the lines and of an ordinary scikit-learn pipeline on the same
file in the same run: these ratios hold from machine to machine. A run takes ten minutes; `--rows` makes it shorter.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import streams
from bounceml import Classifier, Reply
from bounceml.parsing import mail

ROOT = Path(__file__).parents[1]
TEMPLATES = (300, 3000, 30_000)
MANY = 3000  # templates of the streams in other forms than plain lines
BOUNCEML = [sys.executable, "-m", "bounceml"]
CHINESE = "你发送到 wang@example.cn 的邮件由于以下原因被退回 : 邮件在队列中处理时间过长"
MAIL = ROOT / "tests" / "lab" / "mails" / "postfix-adam.eml"
MAILS = ROOT / "tests" / "lab" / "mails"
COPIES = 40  # of each mail, so that several processes have something to share
SLOW = 20_000  # lines that scikit-learn gets; the others take it minutes


class Run(NamedTuple):
    """What a command took: seconds, and the most memory that one of its processes had, in MB."""

    seconds: float
    megabytes: float


# A small process in between: the memory that a process is said to have had is at least that of the one which started it.
_MEASURE = """
import os, subprocess, sys, time
begin = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), time.perf_counter() - begin, used.ru_maxrss / 1024)
"""


def run(command: list[str]) -> Run:
    """Run a command to its end, its output thrown away."""
    done = subprocess.run([sys.executable, "-c", _MEASURE, *command], cwd=ROOT, capture_output=True, text=True, check=True)
    code, seconds, megabytes = done.stdout.split()
    if int(code) not in (0, 3):  # 3: some of the templates are log lines that were cut off, and their rows say so
        sys.exit(f"{' '.join(command)}: ended with {code}")
    return Run(float(seconds), float(megabytes))


def best(work: Callable[[], object], rounds: int = 3) -> float:
    """Return the seconds that the fastest round took."""
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def table(head: list[str], rows: Iterable[list[str]]) -> None:
    """Print a table."""
    print(f"| {' | '.join(head)} |\n|{'|'.join([' --- '] + [' ---: '] * (len(head) - 1))}|")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print()


# --- one by one -------------------------------------------------------------------------------------------------


def start_up() -> None:
    """Print how long single commands take, medians of 20 in turns."""
    commands = {
        "`python -c pass`": [sys.executable, "-c", "pass"],
        "`bounceml --help`": [*BOUNCEML, "--help"],
        "an English line": [*BOUNCEML, "predict", "552 5.2.2 mailbox full"],
        "a Chinese line": [*BOUNCEML, "predict", "--lang", "zh", CHINESE],
        f"a mail of {MAIL.stat().st_size / 1000:.1f} KB": [*BOUNCEML, "predict", str(MAIL)],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(20):
        for name, command in commands.items():
            taken[name].append(run(command).seconds * 1000)
    bare = median(taken["`python -c pass`"])
    print("## Start-up\n\nMedians of 20.\n")
    table(["", "ms", "times `python -c pass`"], ([name, f"{median(ms):.0f}", f"{median(ms) / bare:.1f}"] for name, ms in taken.items()))


def in_process() -> None:
    """Print how long ``Classifier.classify`` takes."""
    classifier = Classifier.load()
    given = streams.templates(2000)
    new = best(lambda: list(map(classifier.classify, given)), rounds=1) / len(given)
    hits = best(lambda: list(map(classifier.classify, given))) / len(given)
    large = b"From: MAILER-DAEMON@example.net\nSubject: failure\n\n<joe@example.com>:\n550 5.1.1 no such user\n" + b"x" * 78 * 200_000
    print("## In process\n")
    rows = [
        ["`Classifier.classify`, a template never seen", f"{new * 1000:.2f} ms"],
        ["`Classifier.classify`, a template seen before", f"{hits * 1e6:.1f} µs"],
        ["a mail of 15 MB", f"{best(lambda: [classifier.classify(reply) for reply in mail.read(large)]):.2f} s"],
    ]
    table(["", "time"], rows)


# --- streams ----------------------------------------------------------------------------------------------------


def plain_lines(folder: Path, rows: int) -> None:
    """Print how fast files of plain replies are answered, beside what else could be done with them."""
    print(
        "## Plain lines to JSON lines\n\nEnd to end, with start-up and all verdict columns. The templates are replies of `data/examples`; "
        "the n-th most frequent comes with a share proportional to 1/n (Zipf), and every address, host, IP address, id and long number is "
        "drawn anew (`bench/streams.py`). A hit is a line whose wording was known.\n"
    )
    head = ["templates", "by", "rows/s", "MB/s", "memory of a process", "hits", "times `wc -l`", "times a bare loop"]
    table(head, _plain_lines(folder, rows))


def _plain_lines(folder: Path, rows: int) -> Iterable[list[str]]:
    for templates in TEMPLATES:
        path = folder / f"{templates}.txt"
        path.write_text("".join(f"{reply}\n" for _, reply in streams.replies(rows, templates)), "utf-8")
        counted, looped = best(lambda path=path: run(["wc", "-l", str(path)])), best(lambda path=path: sum(1 for _ in path.open("rb")))
        yield from _lines(path, rows, templates, counted, looped)


def _lines(path: Path, rows: int, templates: int, counted: float, looped: float) -> Iterable[list[str]]:
    size = path.stat().st_size / 2**20
    hits = _hit_rate(path)
    for jobs in (1, 2):
        took = run([*BOUNCEML, "predict", str(path), "--to", "jsonl", "-o", os.devnull, "--jobs", str(jobs)])
        rate, speed = f"{rows / took.seconds:,.0f}", f"{size / took.seconds:.1f}"
        by, ratios = f"bounceml, {jobs} process{'es' * (jobs > 1)}", [f"{took.seconds / bare:,.0f}" for bare in (counted, looped)]
        yield [f"{templates:,}", by, rate, speed, f"{took.megabytes:.0f} MB", hits, *ratios]
    first = min(rows, SLOW)
    pipeline = [sys.executable, "-m", "bench.sklearn_pipeline", str(path.with_name("pipeline.joblib")), str(path)]
    run([*pipeline, "0"])  # it may have to be fitted
    empty, took = run([*pipeline, "0"]), run([*pipeline, str(first)])
    seconds = (took.seconds - empty.seconds) * rows / first
    ratios = [f"{seconds / bare:,.0f}" for bare in (counted, looped)]
    yield [f"{templates:,}", "scikit-learn", f"{rows / seconds:,.0f}", f"{size / seconds:.1f}", f"{took.megabytes:.0f} MB", "", *ratios]


def _hit_rate(path: Path) -> str:
    classifier = Classifier.load()
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            classifier.find(Reply(line.strip()))
    remembered = classifier.remembered()
    return f"{remembered.hits / (remembered.hits + remembered.misses):.2%}"


def other_forms(folder: Path, rows: int) -> None:
    """Print how fast tables and logs are answered."""
    drawn = [(number, recipient, reply) for number, (recipient, reply) in enumerate(streams.replies(rows, MANY))]
    found = []
    for name, to, path in _forms(folder, drawn):
        size = path.stat().st_size / 2**20
        for jobs in (1, 2):
            took = run([*BOUNCEML, "predict", str(path), "--to", to, "-o", str(folder / f"out.{to}"), "--jobs", str(jobs)])
            rates = [f"{rows / took.seconds:,.0f}", f"{size / took.seconds:.1f}", f"{took.megabytes:.0f} MB"]
            found.append([name, str(jobs), *rates])
    print(f"## Tables and logs\n\nEnd to end, {MANY:,} templates; tables have the columns id, recipient, reply, campaign and time.\n")
    table(["", "processes", "rows/s", "MB/s", "memory of a process"], found)


def _forms(folder: Path, drawn: list[tuple[int, str, str]]) -> Iterable[tuple[str, str, Path]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"id": n, "recipient": to, "reply": reply, "campaign": f"c{n % 7}", "time": 1_767_225_600 + n // 50} for n, to, reply in drawn]
    lines, cells, parquet, log = (folder / name for name in ("rows.jsonl", "rows.csv", "rows.parquet", "mail.log"))
    with lines.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    with cells.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), parquet)
    with log.open("w", encoding="utf-8") as file:
        for n, to, reply in drawn:
            when = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(1_767_225_600 + n // 50))
            said = f"host mx.example.net[203.0.113.7] said: {reply} (in reply to RCPT TO command)"
            file.write(f"{when} mx postfix/smtp[{n % 100}]: {n:X}: to=<{to}>, relay=mx.example.net[203.0.113.7]:25, ")
            file.write(f"delay=1, dsn=5.0.0, status=bounced ({said})\n")
    yield "JSON lines to JSON lines", "jsonl", lines
    yield "CSV to CSV", "csv", cells
    yield "Parquet to Parquet", "parquet", parquet
    yield "Postfix log to JSON lines", "jsonl", log


def mails(folder: Path) -> None:
    """Print how fast mails are answered."""
    kept = [path for path in sorted(MAILS.glob("*.eml")) if 2000 <= path.stat().st_size < 6000]
    box = folder / "mails"
    box.mkdir()
    for number in range(COPIES):
        for path in kept:
            (box / f"{number}-{path.name}").write_bytes(path.read_bytes())
    count = COPIES * len(kept)
    size = sum(path.stat().st_size for path in kept) / len(kept)
    empty = run([*BOUNCEML, "predict", str(kept[0]), "--to", "jsonl"]).seconds
    print(f"## Mails\n\n{count:,} mails of {size / 1000:.1f} KB in a folder, to JSON lines; the start-up of {empty:.2f} s is taken off.\n")
    found = []
    for jobs in (1, 2):
        took = run([*BOUNCEML, "predict", str(box), "--to", "jsonl", "-o", os.devnull, "--jobs", str(jobs)])
        found.append([str(jobs), f"{count / (took.seconds - empty):,.0f}", f"{took.megabytes:.0f} MB"])
    table(["processes", "mails/s", "memory of a process"], found)


def memory(folder: Path, rows: int) -> None:
    """Print that memory does not grow with the file."""
    path = folder / f"{MANY}.txt"
    long = folder / "long.txt"
    with long.open("wb") as file:
        for _ in range(10):
            file.write(path.read_bytes())
    print("## Memory\n\nPlain lines to JSON lines, one process.\n")
    found = []
    for name, count in ((path, rows), (long, 10 * rows)):
        took = run([*BOUNCEML, "predict", str(name), "--to", "jsonl", "-o", os.devnull])
        found.append([f"{count:,}", f"{took.megabytes:.0f} MB", f"{count / took.seconds:,.0f}"])
    table(["rows", "memory", "rows/s"], found)


def learning(folder: Path) -> None:
    """Print how long training and evaluation take."""
    print("## Training and evaluation\n")
    trained = run([*BOUNCEML, "train", "--out", str(folder / "model")])
    evaluated = run([*BOUNCEML, "evaluate"])
    table(
        ["", "seconds"],
        [
            ["`bounceml train`, with cross-validation and report", f"{trained.seconds:.0f}"],
            ["`bounceml evaluate`, with all studies", f"{evaluated.seconds:.0f}"],
        ],
    )


def machine() -> str:
    """Say what machine this is."""
    told = Path("/proc/cpuinfo").read_text("utf-8") if Path("/proc/cpuinfo").exists() else ""
    cpu = next((line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")), platform.processor())
    return f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()} on {platform.system()}"


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each stream (default: %(default)s)")
    parser.add_argument("--learning", action="store_true", help="also time training and evaluation, five minutes more")
    arguments = parser.parse_args()
    print(f"# Benchmarks\n\nWritten by `make bench`, {arguments.rows:,} rows a stream, on {machine()}.\n")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        start_up()
        in_process()
        plain_lines(folder, arguments.rows)
        other_forms(folder, arguments.rows)
        memory(folder, arguments.rows)
        mails(folder)
        if arguments.learning:
            learning(folder)


if __name__ == "__main__":
    main()
