"""The tables of a report as one CSV table, for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import Any

from bounceml.report.aggregate import TABLES
from bounceml.report.bounded import KINDS

_COLUMNS = ("name", "count", *KINDS, "category", "action", "first_seen", "last_seen")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins so is computed by a spreadsheet (OWASP, CSV injection)


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
            rows.writerow([name, *(_cell(row[column]) for column in _COLUMNS)])
    return out.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
