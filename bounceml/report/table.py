"""The tables of a report as one CSV table, for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import Any

from bounceml.cells import guarded
from bounceml.report.aggregate import TABLES
from bounceml.report.bounded import KINDS

_COLUMNS = ("name", "count", *KINDS, "category", "action", "first_seen", "last_seen")


def render(summary: dict[str, Any]) -> str:
    """Return the timeline and the rows of all tables, each with the name of its table.

    A cell that a spreadsheet would compute gets a quote before it.
    """
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(["table", *_COLUMNS])
    for bar in summary["timeline"]["bars"]:
        rows.writerow(["timeline", bar["time"], sum(bar[kind] for kind in KINDS), *(bar[kind] for kind in KINDS)])
    for name in TABLES:
        for row in summary[name]["rows"]:
            rows.writerow([name, *(guarded(cell) if isinstance(cell := row[column], str) else cell for column in _COLUMNS)])
    return out.getvalue()
