"""Verdicts to text, JSONL, CSV, Parquet and a suppression list; one function a format, listed in ``WRITERS``."""

from __future__ import annotations

import csv
import json
import math
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import chain, islice
from json.encoder import encode_basestring
from types import ModuleType
from typing import Any, TextIO

from bounceml import tables
from bounceml.errors import UsageError
from bounceml.highlight import in_colour, marked
from bounceml.values import FIELDS, Told, Verdict

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


# --- JSON lines and CSV -----------------------------------------------------------------------------------------

# JSON may hold these as they are, but many programs end a line at them.
_LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def _plain(value: object) -> object:
    """A value of a Parquet column that JSON does not know, as text; times in ISO 8601."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _finite(value: object) -> object:
    """The same value without NaN and infinities, which JSON does not know either: they mean that nothing is there."""
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, default=_plain)
    for character, escaped in _LINE_ENDS.items():
        if character in text:
            text = text.replace(character, escaped)
    return text


# The fields that differ from reply to reply of one wording, which stand first; all others are written once for many.
_OWN = FIELDS.index("reply") + 1


@lru_cache(4096)
def _shared(values: tuple[object, ...]) -> str:
    """The fields behind the reply, and the end of the object."""
    told = dict(zip(FIELDS[_OWN:], values, strict=True))
    for name in ("evidence", "alternatives"):
        told[name] = [item._asdict() for item in told[name]]  # type: ignore[attr-defined]  # tuples of NamedTuples
    return _json(told)[1:]


def _quoted(value: str | None) -> str:
    if value is None:
        return "null"
    return encode_basestring(value) if value.isprintable() else _json(value)


def write_jsonl(verdicts: Iterable[Verdict], out: TextIO, lang: str) -> None:
    """Write one JSON object a line, in input order; the columns of a table's row stand behind the verdict's fields."""
    names = [f'"{name}": ' for name in FIELDS[:_OWN]]
    for verdict in verdicts:
        values = (verdict.id, verdict.source, verdict.recipient, verdict.original_recipient, verdict.reply)
        own = ", ".join([name + _quoted(value) for name, value in zip(names, values, strict=True)])
        line = f"{{{own}, {_shared(verdict[_OWN : len(FIELDS)])}"
        if carried := verdict.carried():
            line = f"{line[:-1]}, {_json(carried)[1:]}"
        out.write(line + "\n")


_REST = "input"  # the last column: what of the input's row has no column of its own


class _Lines:
    """Takes the rows of ``csv.writer``, which quotes a bare CR only where rows end in one."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, row: str) -> None:
        self._out.write(f"{row[:-2]}\n")


def _begun(out: TextIO) -> list[str] | None:
    """The header that stands in the output where an earlier run was killed; the output is left as it was."""
    if not out.readable() or not (end := out.tell()):
        return None
    out.seek(0)
    header = next(csv.reader(iter(out.readline, "")))
    out.seek(end)
    return header


def _cell(value: object) -> object:
    return value if isinstance(value, str) else "" if value is None else _json(value)


def write_csv(verdicts: Iterable[Verdict], out: TextIO, lang: str) -> None:
    """Write a table with a header line; evidence and alternatives are JSON in their cells.

    Behind the verdict's fields stand the columns of the first row that was read. What a later row has besides, as the
    inputs may be different tables, goes into the last column, ``input``, as JSON: so one pass is enough, and nothing is lost.
    """
    stream = iter(verdicts)
    first = next(stream, None)  # an output that a killed run left is now at the place to go on from
    table = csv.writer(_Lines(out), lineterminator="\r\n")
    header = _begun(out)
    if header is None:
        header = [*FIELDS, *(name for name in (first.carried() if first else ()) if name != _REST), _REST]
        table.writerow(header)
    own = header[len(FIELDS) : -1]
    known = frozenset(own)
    for verdict in chain([first] if first else [], stream):
        row = verdict.to_dict()
        row["evidence"], row["alternatives"] = _json(row["evidence"]), _json(row["alternatives"])
        carried = verdict.carried()
        rest = {name: value for name, value in carried.items() if name not in known}
        cells = [*(row[name] for name in FIELDS), *(_cell(carried.get(name)) for name in own)]
        table.writerow([*cells, _json(rest) if rest else ""])


FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what opens a formula in a spreadsheet (OWASP, CSV Injection)


def write_suppression(verdicts: Iterable[Verdict], out: TextIO, lang: str) -> None:
    """Write a table of the dead addresses, once all verdicts are known; what a spreadsheet would run has a quote before it."""
    from bounceml import suppression  # it needs a database, which the others need not pay for

    found = suppression.rows(verdicts)
    table = csv.writer(_Lines(out), lineterminator="\r\n")
    table.writerow(suppression.COLUMNS)
    for row in found:
        table.writerow([f"'{cell}" if cell.startswith(FORMULA) else cell for cell in row])


# --- Parquet ----------------------------------------------------------------------------------------------------


_BATCH = 5000  # rows in memory at once, and in a row group: 5 MB

# What is no text among the verdict's fields, by the name that pyarrow has for its type.
_TYPES = {"reply_code": "int32", "retry_after": "int64", "confidence": "float64", "suppress": "bool_"}
_PARTS = {
    "evidence": {"text": "string", "by": "string", "weight": "float64"},
    "alternatives": {"category": "string", "probability": "float64"},
}


def write_parquet(verdicts: Iterable[Verdict], out: TextIO, lang: str) -> None:
    """Write a Parquet table, the columns of the input's rows as in CSV.

    Their names and types are those of the first batch of rows; a value that does not fit goes into ``input`` as JSON.
    Lists and objects are JSON too.

    Raises
    ------
    UsageError
        Where pyarrow is not installed.

    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError("Parquet tables need a package more; install it with: pip install 'bounceml[parquet]'") from None

    stream = iter(verdicts)
    batch = list(islice(stream, _BATCH))
    types = {name: getattr(pa, _TYPES.get(name, "string"))() for name in FIELDS}
    for name, parts in _PARTS.items():
        types[name] = pa.list_(pa.struct([(part, getattr(pa, kind)()) for part, kind in parts.items()]))
    carried = list(map(_flat, batch))
    own = {name: _type(pa, [row.get(name) for row in carried]) for name in dict.fromkeys(chain.from_iterable(carried)) if name != _REST}
    schema = pa.schema([*types.items(), *own.items(), (_REST, pa.string())])
    with pq.ParquetWriter(out.buffer, schema) as table:
        while batch:
            rows = [verdict.to_dict() for verdict in batch]
            columns = [_array(pa, [row[name] for row in rows], kind) for name, kind in types.items()]
            carried = list(map(_flat, batch))
            rests = [{name: value for name, value in row.items() if name not in own} for row in carried]
            columns += [_fitting(pa, name, kind, [row.get(name) for row in carried], rests) for name, kind in own.items()]
            columns.append(_array(pa, [_json(rest) if rest else None for rest in rests], pa.string()))
            table.write_batch(pa.record_batch(columns, schema=schema))
            batch = list(islice(stream, _BATCH))


def _flat(verdict: Verdict) -> dict[str, object]:
    """The columns of the input's row; lists and objects as JSON, as two rows seldom have the same fields in them."""
    return {name: _json(value) if isinstance(value, dict | list) else value for name, value in verdict.carried().items()}


def _type(pa: ModuleType, values: list[object]) -> Any:
    """The type of a column; text where it is empty, or where its values have no type in common."""
    try:
        found = pa.array(values).type
    except (pa.ArrowException, OverflowError, UnicodeError):
        return pa.string()
    return pa.string() if pa.types.is_null(found) else found


def _array(pa: ModuleType, values: list[Any], kind: Any) -> Any:
    try:
        return pa.array(values, kind)
    except UnicodeError:
        return pa.array([_encodable(value) for value in values], kind)


def _encodable(value: object) -> object:
    """The same value with half a surrogate pair, which JSON can name and UTF-8 cannot, as its escape."""
    if isinstance(value, dict):
        return {name: _encodable(item) for name, item in value.items()}
    if isinstance(value, list):
        return list(map(_encodable, value))
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _fitting(pa: ModuleType, name: str, kind: Any, values: list[Any], rests: list[dict[str, object]]) -> Any:
    """The array of one carried column; each value that is not of its type moves to the row's rest."""
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError, UnicodeError):
        pass
    for number, value in enumerate(values):
        try:
            pa.scalar(value, kind)
        except (pa.ArrowException, OverflowError, UnicodeError):
            rests[number][name] = value
            values[number] = None
    return pa.array(values, kind)


# --- text -------------------------------------------------------------------------------------------------------


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


def write_text(verdicts: Iterable[Verdict], out: TextIO, lang: str) -> None:
    """Write one verdict, or explained ones, as paragraphs; several as a table as wide as the terminal."""
    stream = iter(verdicts)
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


WRITERS: dict[str, Callable[[Iterable[Verdict], TextIO, str], None]] = {
    "text": write_text,
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
    "suppression": write_suppression,
}
