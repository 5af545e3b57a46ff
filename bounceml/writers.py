"""Verdicts to text, JSONL and CSV; one function a format, listed in ``WRITERS``."""

from __future__ import annotations

import csv
import json
import shutil
import unicodedata
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import TextIO

from bounceml import tables
from bounceml.values import Verdict

_LABELS = {
    "en": {"cause": "Cause", "remedy": "What to do", "reply": "Reply", "decided": "Decided by", "words": "Because of", "also": "Or else",
           "recipient": "Recipient", "category": "Category", "sure": "Sure", "action": "Action", "error": "Not read"},
    "zh": {"cause": "原因", "remedy": "解决办法", "reply": "退信原文", "decided": "判断依据", "words": "关键词语", "also": "其他可能",
           "recipient": "收件人", "category": "类别", "sure": "把握", "action": "处理", "error": "无法读取"},
}  # fmt: skip


def write_jsonl(verdicts: Iterable[Verdict], out: TextIO, lang: str) -> None:
    """Write one JSON object a line, in input order."""
    for verdict in verdicts:
        out.write(json.dumps(verdict.to_dict(), ensure_ascii=False) + "\n")


def write_csv(verdicts: Iterable[Verdict], out: TextIO, lang: str) -> None:
    """Write a table with a header line; evidence and alternatives are JSON in their cells."""
    table = csv.DictWriter(out, Verdict._fields, lineterminator="\n")
    table.writeheader()
    for verdict in verdicts:
        row = verdict.to_dict()
        for field in ("evidence", "alternatives"):
            row[field] = json.dumps(row[field], ensure_ascii=False)
        table.writerow(row)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _fit(text: str, columns: int) -> str:
    """Cut or pad a text to a number of terminal columns; Chinese characters take two (Unicode TR 11)."""
    kept, used = [], 0
    for character in text:
        if used + _width(character) > columns:
            break
        kept.append(character)
        used += _width(character)
    return "".join(kept) + " " * (columns - used)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _card(verdict: Verdict, lang: str) -> str:
    """One verdict as a paragraph for a person."""
    label = _LABELS[lang]
    if verdict.error:
        return f"{label['error']}: {verdict.error}\n"
    category = tables.taxonomy().categories[verdict.category]
    head = f"{category.name[lang]} ({verdict.category}{', ' + verdict.documented if verdict.documented else ''}) {verdict.confidence:.0%}"
    lines = [head, f"  {label['cause']}: {verdict.cause}", f"  {label['remedy']}: {verdict.remedy}"]
    if verdict.recipient:
        lines.append(f"  {label['recipient']}: {verdict.recipient}")
    lines.append(f"  {label['reply']}: {_one_line(verdict.reply)}")
    lines.append(
        f"  {label['action']}: {verdict.action} · {verdict.permanence} · {verdict.outcome} · {label['decided']}: {verdict.decided_by}"
    )
    if verdict.evidence:
        words = ", ".join(f"{item.text!r} ({item.by} {item.weight:+.2f})" for item in verdict.evidence)
        lines.append(f"  {label['words']}: {words}")
    if verdict.alternatives:
        lines.append(f"  {label['also']}: " + ", ".join(f"{a.category} {a.probability:.0%}" for a in verdict.alternatives))
    return "\n".join(lines) + "\n"


def _table_row(verdict: Verdict, width: int) -> str:
    sure = f"{verdict.confidence:>5.0%}" if not verdict.error else "    –"
    reply = _one_line(verdict.error or verdict.reply)
    cells = [_fit(verdict.recipient or verdict.id or "", 26), _fit(verdict.category, 22), sure, _fit(verdict.action, 14)]
    return "  ".join([*cells, _fit(reply, max(20, width - 75)).rstrip()]) + "\n"


def write_text(verdicts: Iterable[Verdict], out: TextIO, lang: str) -> None:
    """Write one verdict, or explained ones, as paragraphs; several as a table as wide as the terminal."""
    stream = iter(verdicts)
    first = list(islice(stream, 2))
    if len(first) < 2 or any(item.by == "model" for verdict in first for item in verdict.evidence):
        for verdict in chain(first, stream):
            out.write(_card(verdict, lang))
        return
    width = shutil.get_terminal_size((120, 24)).columns
    label = _LABELS[lang]
    head = [_fit(label["recipient"], 26), _fit(label["category"], 22), _fit(label["sure"], 5), _fit(label["action"], 14), label["reply"]]
    out.write("  ".join(head) + "\n")
    for verdict in chain(first, stream):
        out.write(_table_row(verdict, width))


WRITERS: dict[str, Callable[[Iterable[Verdict], TextIO, str], None]] = {"text": write_text, "jsonl": write_jsonl, "csv": write_csv}
