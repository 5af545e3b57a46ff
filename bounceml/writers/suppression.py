"""The dead addresses as CSV, once all verdicts are known."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TextIO

from bounceml import suppression
from bounceml.cells import guarded
from bounceml.values import Verdict
from bounceml.writers import table


def write(batches: Iterable[list[Verdict]], out: TextIO, lang: str) -> None:
    """Write a table of the dead addresses; what a spreadsheet would compute has a quote before it."""
    found = suppression.rows(chain.from_iterable(batches))
    for row in chain([suppression.COLUMNS], found):
        out.write(f"{table.line(map(guarded, row))}\n")
