"""A report for people: text, Markdown and one HTML page with plots, and the model's card."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from bounceml import tables
from bounceml.learning import compare
from bounceml.templates import environment

# Text as text and a fixed salt keep the SVG of equal figures equal.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bounceml", "font.size": 9})

_TEMPLATES = environment("bounceml.learning")


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _interval(values: list[float]) -> str:
    value, low, high = values
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _cell(text: str) -> str:
    """One line that cannot break a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


_TEMPLATES.filters |= {"percent": _percent, "interval": _interval, "cell": _cell}


# --- plots ------------------------------------------------------------------------------------------------------


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def _reliability(report: dict[str, Any]) -> str:
    figure = Figure(figsize=(4.2, 3.6))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    points = report["calibration"]["model"]["reliability"]
    axes.plot([p[0] for p in points], [p[1] for p in points], marker="o", color="#1f6feb")
    axes.set(
        xlabel="probability the model gave",
        ylabel="share that was right",
        title="Reliability (bins of equal mass)",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    return _svg(figure)


def _risk_coverage(report: dict[str, Any]) -> str:
    figure = Figure(figsize=(4.2, 3.6))
    axes = figure.subplots()
    for arm, colour in (("model", "#1f6feb"), ("both", "#1a7f37")):
        points = report["calibration"][arm]["risk_coverage"]
        axes.plot([p[0] for p in points], [p[1] for p in points], label=arm, color=colour)
    axes.set(
        xlabel="share of replies answered, surest first", ylabel="share of answers that is wrong", title="Risk and coverage", xlim=(0, 1)
    )
    axes.set_ylim(bottom=0)
    axes.legend()
    return _svg(figure)


def _confusion(report: dict[str, Any]) -> str:
    labels, counts = report["confusion"]["labels"], report["confusion"]["counts"]
    shares = [[value / max(1, sum(row)) for value in row] for row in counts]
    figure = Figure(figsize=(10, 9.2))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, values in enumerate(counts):
        for column, value in enumerate(values):
            if value:
                axes.text(column, row, value, ha="center", va="center", fontsize=6, color="white" if shares[row][column] > 0.5 else "black")
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="said", ylabel="labelled", title="Confusion (rows; shade is the share of the labelled category)")
    return _svg(figure)


def _f1(report: dict[str, Any]) -> str:
    rows = sorted(report["per_category"], key=lambda row: row["f1"])
    figure = Figure(figsize=(6, 7))
    axes = figure.subplots()
    axes.barh([row["category"] for row in rows], [row["f1"] for row in rows], color="#1f6feb")
    for place, row in enumerate(rows):
        axes.text(row["f1"] + 0.01, place, f"{row['f1']:.2f}  n={row['rows']}", va="center", fontsize=7)
    axes.set(xlabel="F1", title="F1 by category", xlim=(0, 1.15))
    return _svg(figure)


# --- papers -----------------------------------------------------------------------------------------------------


def as_text(report: dict[str, Any]) -> str:
    """Return the report for a terminal; its first line is the signature."""
    return _TEMPLATES.get_template("report.txt").render(report=report)


def earlier(folder: Path) -> dict[str, Any] | None:
    """Return the report that stands in a folder, or None where none does that this version can compare with."""
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return report if "signature" in report else None
    except (OSError, ValueError, TypeError):
        return None


def of_report(report: dict[str, Any]) -> dict[str, str]:
    """Return the report's files by name: JSON, Markdown, and one HTML page that needs no other file."""
    plots = {
        "reliability": _reliability(report),
        "risk_coverage": _risk_coverage(report),
        "f1": _f1(report),
        "confusion": _confusion(report),
    }
    page = _TEMPLATES.get_template("report.html").render(report=report, plots=plots)
    return {
        "report.json": json.dumps(report, ensure_ascii=False, indent=1) + "\n",
        "report.md": _TEMPLATES.get_template("report.md").render(report=report),
        "report.html": page,
    }


def card(manifest: dict[str, Any], report: dict[str, Any]) -> str:
    """Return the model card: what it is for, what it learned from, how good it is, where it fails."""
    weakest = sorted(report["per_category"], key=lambda row: row["f1"])[:5]
    return _TEMPLATES.get_template("card.md").render(
        manifest=manifest, report=report, weakest=weakest, worse=compare.worse(report), groups=tables.taxonomy().groups
    )
