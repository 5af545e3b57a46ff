"""The questions of a review as a table that somebody fills in, and the answers in it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import TextIO

from bounceml import labelled
from bounceml.cells import guarded, unguarded
from bounceml.errors import DataError, UsageError
from bounceml.parsing import decode
from bounceml.review import GUESSES, Question, category_of

_GUESSED = tuple(f"guess{number}" for number in range(1, GUESSES + 1))
COLUMNS = ("count", "template", "example", *_GUESSED, "category", "source")
_NEEDED = ("example", "category", "source")
_NOT_READ = "is no table that `bounceml review --to csv` wrote"


def write_file(questions: Iterable[Question], path: Path) -> None:
    """Write the table to a new file.

    Raises
    ------
    UsageError
        Where the file is there already, as somebody may have filled it in, or cannot be written.

    """
    try:
        with path.open("x", encoding="utf-8", newline="") as out:
            write(questions, out)
    except FileExistsError:
        raise UsageError(f"{path}: is there already; name another file with -o") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name another file with -o") from None


def write(questions: Iterable[Question], out: TextIO) -> None:
    """Write a row for each question, its ``category`` empty; what a spreadsheet would run has a quote before it."""
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow(COLUMNS)
    for asked in questions:
        guesses = [f"{guess.category} {guess.probability:.0%}" for guess in asked.guesses]
        cells = [str(asked.times), asked.wording, asked.example, *guesses, "", asked.source]
        table.writerow(map(guarded, cells))


def _cells(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row with its number, as a spreadsheet counts: the header is row 1."""
    try:
        content = decode.text(path.read_bytes(), "").removeprefix("\ufeff")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); name a table that `bounceml review --to csv` wrote") from None
    delimiter = max(",\t;", key=content.partition("\n")[0].count)  # some spreadsheets put others in place of the commas
    table = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(table, [])
        if missing := [name for name in _NEEDED if name not in header]:
            raise DataError(f"{path}: {_NOT_READ}: it has no column {missing[0]!r}")
        for number, cells in enumerate(table, 2):
            if any(cells):
                yield number, dict.fromkeys(_NEEDED, "") | {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
    except csv.Error as error:
        raise DataError(f"{path}: the row that begins in line {table.line_num} or before is broken ({error}); mend it") from None


def answers(path: Path) -> list[tuple[Question, str]]:
    """Return the questions of a table that have a category, each with its id; an answer may be the number of a guess.

    Raises
    ------
    DataError
        Where the file is no such table, or a category is none; all rows that are wrong are named, and none is taken.

    """
    found, wrong = [], []
    for number, cells in _cells(path):
        if not cells["category"]:
            continue
        guesses = [cells[name].partition(" ")[0] for name in _GUESSED if cells.get(name)]
        try:
            category = category_of(cells["category"].partition(" ")[0], guesses)
        except DataError as error:
            wrong.append(f"row {number}: {error}")
            continue
        if not (example := unguarded(cells["example"])):
            wrong.append(f"row {number}: 'example' is empty; it is the text that is labelled")
            continue
        found.append((Question(0, "", example, (), cells["source"] or path.name), category))
    if wrong:
        raise DataError(f"{path}: " + f"\n  {path}: ".join(wrong))
    return found


def take_over(path: Path, add_to: Path, today: date) -> tuple[int, int]:
    """Append the answers of a table to a file of labelled replies, but for those that it has; return how many of each.

    Raises
    ------
    DataError
        Where one of the files cannot be used; nothing is appended then.
    UsageError
        Where the file of labelled replies cannot be written.

    """
    known = {row.template for row in labelled.read_file(add_to)} if add_to.exists() else set()
    added = again = 0
    for question, category in answers(path):
        if question.template in known:
            again += 1
        else:
            labelled.add(add_to, question.row(category, today))
            known.add(question.template)
            added += 1
    return added, again
