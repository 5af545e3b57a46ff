"""Verdicts for people: one as a paragraph, several as a table as wide as the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from itertools import chain, islice
from typing import TextIO

from bounceml import tables
from bounceml.highlight import in_colour, marked
from bounceml.values import Told, Verdict

_LABELS = {
    "en": {"cause": "Cause", "remedy": "What to do", "reply": "Reply", "decided": "Decided by", "words": "Because of", "also": "Or else",
           "recipient": "Recipient", "category": "Category", "label": "Label", "sure": "Sure", "action": "Action", "error": "Not read",
           "meant": "Was {} meant?", "meant_domain": "Was {} meant?", "rest": "the rest", "intercept": "base",
           "own_label": "Your label"},
    "zh": {"cause": "原因", "remedy": "解决办法", "reply": "退信原文", "decided": "判断依据", "words": "关键词语", "also": "其他可能",
           "recipient": "收件人", "category": "类别", "label": "标签", "sure": "把握", "action": "处理", "error": "无法读取",
           "meant": "收件地址是不是应该是 {}？", "meant_domain": "@ 后面的域名是不是应该是 {}？", "rest": "其余词语", "intercept": "基准值",
           "own_label": "您的标签"},
}  # fmt: skip


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


def _because(verdict: Verdict, label: dict[str, str]) -> str:
    """The evidence as one line: the model's words by weight, and what their sum lacks to the margin."""
    told = [
        f"{label[item.by] if item.by in ('rest', 'intercept') else item.text} {item.weight:+.2f}"
        if item.by in ("model", "rest", "intercept")
        else f"{item.text!r} ({item.by} {item.weight:+.2f})"
        for item in verdict.evidence
    ]
    return ", ".join(told)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _question(suggestion: str, lang: str) -> str:
    return _LABELS[lang]["meant" if "@" in suggestion else "meant_domain"].format(suggestion)


def _card(verdict: Verdict, lang: str, colour: bool) -> str:
    """One verdict as a paragraph for a person; the words that decided an explained one are marked in its reply."""
    label = _LABELS[lang]
    if verdict.error:
        return f"{label['error']}: {verdict.error}\n"
    category = tables.taxonomy().categories[verdict.category]
    head = f"{category.name[lang]} ({verdict.category}{', ' + verdict.documented if verdict.documented else ''}) {verdict.confidence:.0%}"
    lines = [head, f"  {label['cause']}: {verdict.cause}", f"  {label['remedy']}: {verdict.remedy}"]
    if verdict.suggestion:
        lines.append(f"  {_question(verdict.suggestion, lang)}")
    if verdict.recipient:
        lines.append(f"  {label['recipient']}: {verdict.recipient}")
    for name, value in (("label", verdict.scheme_label), ("own_label", verdict.user_label)):
        if value:
            lines.append(f"  {label[name]}: {value}")
    told = verdict.told or Told((), "")
    lines.append(f"  {label['reply']}: {marked(verdict.reply, told.marks, colour)}")
    what_follows = f"{verdict.action} · {verdict.permanence} · {verdict.outcome}"
    lines.append(f"  {label['action']}: {what_follows} · {label['decided']}: {' '.join(filter(None, (verdict.decided_by, told.source)))}")
    if verdict.evidence:
        lines.append(f"  {label['words']}: {_because(verdict, label)}")
    if verdict.alternatives:
        lines.append(f"  {label['also']}: " + ", ".join(f"{a.category} {a.probability:.0%}" for a in verdict.alternatives))
    return "\n".join(lines) + "\n"


_LABEL = 28  # columns, as many as the longest label takes


def _table_row(verdict: Verdict, width: int, lang: str) -> str:
    sure = f"{verdict.confidence:>5.0%}" if not verdict.error else "    –"
    reply = _one_line(verdict.error or verdict.reply)
    if verdict.suggestion:
        reply = f"{_question(verdict.suggestion, lang)} {reply}"
    cells = [_fit(verdict.recipient or verdict.id or "", 26), _fit(verdict.category, 22), sure, _fit(verdict.action, 14)]
    cells[2:2] = [_fit(value, _LABEL) for value in (verdict.scheme_label, verdict.user_label) if value is not None]
    return "  ".join([*cells, _fit(reply, max(20, width - 75)).rstrip()]) + "\n"


def write(batches: Iterable[list[Verdict]], out: TextIO, lang: str) -> None:
    """Write one verdict, or explained ones, as paragraphs; several as a table as wide as the terminal."""
    stream = chain.from_iterable(batches)
    first = list(islice(stream, 2))
    if len(first) < 2 or any(verdict.told for verdict in first):
        colour = in_colour(out)
        for verdict in chain(first, stream):
            out.write(_card(verdict, lang, colour))
        return
    import shutil  # 4 ms that a card need not pay

    width = shutil.get_terminal_size((120, 24)).columns
    label = _LABELS[lang]
    head = [_fit(label["recipient"], 26), _fit(label["category"], 22), _fit(label["sure"], 5), _fit(label["action"], 14), label["reply"]]
    own = {"label": first[0].scheme_label, "own_label": first[0].user_label}
    labels = [_fit(label[name], _LABEL) for name, value in own.items() if value is not None]
    head[2:2] = labels
    width -= (_LABEL + 2) * len(labels)
    out.write("  ".join(head) + "\n")
    for verdict in chain(first, stream):
        out.write(_table_row(verdict, width, lang))
