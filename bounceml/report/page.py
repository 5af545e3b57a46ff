"""The figures as one page that needs nothing else: no network, no script to be read, light, dark and on paper."""

from __future__ import annotations

import base64
import hashlib
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from bounceml import tables
from bounceml.report.bounded import KINDS
from bounceml.report.chart import timeline
from bounceml.templates import environment

_SHOWN = 25  # rows of a table; the CSV has more
_TODO = 6  # causes whose remedy is told

_TEMPLATES = environment("bounceml.report")


@cache
def texts() -> dict[str, Any]:
    """Return the words of the page by language."""
    return tomllib.loads((files("bounceml.report") / "texts.toml").read_text(encoding="utf-8"))


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f}%" if share >= 10 or share == 0 else f"{share:.1f}%" if share >= 0.1 else "<\u20090.1%"


def _moment(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "–"


def _main_kind(row: dict[str, Any]) -> str:
    return max(KINDS, key=lambda kind: row[kind])


_TEMPLATES.filters |= {"percent": _percent, "moment": _moment, "main_kind": _main_kind}


def _asset(name: str) -> str:
    return (files("bounceml.report") / "templates" / name).read_text(encoding="utf-8")


def render(summary: dict[str, Any], lang: str, earlier: dict[str, Any] | None, csv_name: str, json_name: str) -> str:
    """Return the page.

    Parameters
    ----------
    summary, earlier
        The figures, and those of the report before this one.
    lang
        ``en`` or ``zh``.
    csv_name, json_name
        The files that stand beside the page.

    """
    script = _asset("report.js")
    return _TEMPLATES.get_template("report.html").render(
        report=summary,
        earlier=earlier,
        lang=lang,
        t=texts()[lang],
        kinds=KINDS,
        categories=tables.taxonomy().categories,
        remedies=tables.audience_texts()["admin"],
        todo=[row for row in summary["causes"]["rows"] if row["name"] != "unknown"][:_TODO],
        new=[row for row in summary["templates"]["rows"] if row["new"]],
        shown=_SHOWN,
        chart=timeline(summary["timeline"]["bars"]),
        listed=tables.blocklist_of,
        style=_asset("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        csv_name=csv_name,
        json_name=json_name,
    )
