"""How many ordinary bounces are read a second: `make bench-mails`, or `python lab/bench.py [FOLDER]` with a folder of mails.

Prints mails a second of one process, for reading the files alone, taking the mails apart, and judging them too, each the best of
five rounds, with the time as a multiple of that of reading the files: the multiple holds from machine to machine.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from bounceml import Classifier
from bounceml.parsing import mail

MAILS = Path(__file__).resolve().parent.parent / "tests" / "lab" / "mails"
SIZES = range(2_000, 6_000)  # bytes, as most bounces have
ROUNDS = 5


def seconds(work: Callable[[Path], object], paths: list[Path]) -> float:
    """Return the time that the fastest round took."""
    taken = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for path in paths:
            work(path)
        taken.append(time.perf_counter() - begin)
    return min(taken)


def main(folder: Path) -> None:
    """Print the table."""
    paths = [path for path in sorted(folder.iterdir()) if path.stat().st_size in SIZES]
    if not paths:
        sys.exit(f"{folder}: no mails of {SIZES.start} to {SIZES.stop} bytes; name a folder that has some")
    classifier = Classifier.load()
    work: dict[str, Callable[[Path], object]] = {
        "bare read": Path.read_bytes,
        "parsing": lambda path: mail.read(path.read_bytes()),
        "parsing + verdict": lambda path: list(classifier.classify_all(mail.read(path.read_bytes()))),
    }
    print(f"{len(paths)} mails, {sum(path.stat().st_size for path in paths) // len(paths)} bytes each")
    bare = seconds(work["bare read"], paths)
    for name, each in work.items():
        taken = seconds(each, paths)
        print(f"{name:18}{len(paths) / taken:8.0f} mails/s {taken / bare:6.1f} x")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else MAILS)
