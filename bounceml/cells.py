"""How a value is written as text: in a line of JSON, and in a cell of a table that a spreadsheet may open."""

from __future__ import annotations

import json
import math

# JSON may hold these as they are, but many programs end a line at them.
_LINE_ENDS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


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


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain)


def as_json(value: object) -> str:
    """Return a value as JSON on one line; NaN and infinities as null, times in ISO 8601."""
    try:
        text = _ENCODER.encode(value)
    except ValueError:
        text = _ENCODER.encode(_finite(value))
    return text if text.isprintable() else text.translate(_LINE_ENDS)


_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what opens a formula in a spreadsheet (OWASP, CSV Injection)


def guarded(cell: str) -> str:
    """Return a cell with a quote before it where a spreadsheet would compute it.

    >>> guarded("=1+1"), guarded("mailbox full")
    ("'=1+1", 'mailbox full')
    """
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def unguarded(cell: str) -> str:
    """Return a cell as it was before it was guarded."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell
