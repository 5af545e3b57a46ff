"""Verdicts as CSV: a table with a header line; evidence and alternatives are JSON in their cells.

Behind the verdict's fields stand the columns of the first row that was read. What a later row has besides, as the inputs may be
different tables, goes into the last column, ``input``, as JSON: so one pass is enough, and nothing is lost.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TextIO

from bounceml.cells import as_json
from bounceml.values import FIELDS, OWN, Finding, Verdict

REST = "input"  # the last column: what of the input's row has no column of its own


class Encoder:
    """Makes rows of findings; ``columns`` are those behind the verdict's fields, but for the last."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns

    def __call__(self, findings: list[Finding]) -> bytes:
        """Return a line for each finding."""
        return "".join(map(self._row, findings)).encode("utf-8", "backslashreplace")

    def _row(self, finding: Finding) -> str:
        rest = finding.carried()
        cells = [_cell(rest.pop(name, None)) for name in self.columns]
        behind = line(["", *cells, as_json(rest) if rest else ""])  # a row of one empty cell would be written as two quotes
        return f"{line(finding.own)},{_shared(finding.shared)}{behind}\n"


def line(cells: Iterable[object]) -> str:
    """Return a row without its end."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)  # it quotes a bare CR only where rows end in one
    return out.getvalue()[:-2]


@lru_cache(4096)
def _shared(shared: Verdict) -> str:
    """The cells that replies of one wording share."""
    row = shared.to_dict()
    return line([as_json(row[name]) if name in ("evidence", "alternatives") else row[name] for name in FIELDS[OWN:]])


def _cell(value: object) -> object:
    return value if isinstance(value, str) else "" if value is None else as_json(value)


def begin(first: list[Finding], out: TextIO) -> Encoder:
    """Return what makes rows, after the header of the first findings is written; an output that a killed run left has one."""
    header = _begun(out)
    if header is None:
        header = [*FIELDS, *(name for name in (first[0].carried() if first else ()) if name != REST), REST]
        out.write(f"{line(header)}\n")
        out.flush()
    return Encoder(header[len(FIELDS) : -1])


def _begun(out: TextIO) -> list[str] | None:
    """The header that stands in the output where an earlier run was killed; the output is left as it was."""
    if not out.readable() or not (end := out.tell()):
        return None
    out.seek(0)
    header = next(csv.reader(iter(out.readline, "")))
    out.seek(end)
    return header
