"""Verdicts to text, JSON lines, CSV, Parquet and a suppression list; one module a format, see ``format_of``.

A format is two steps: what encodes a batch of findings may run in another process than what writes the batches, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TextIO

from bounceml.values import Finding, verdicts_of

Encode = Callable[[list[Finding]], Any]


class Format(NamedTuple):
    """How verdicts are written.

    ``begin`` prepares the output for what the first findings have, and returns what encodes findings (it can be pickled); ``write``
    takes what that returned, and the language of what it adds.
    """

    begin: Callable[[list[Finding], TextIO], Encode]
    write: Callable[[Iterable[Any], TextIO, str], None]


def _write_bytes(batches: Iterable[bytes], out: TextIO, lang: str) -> None:
    for batch in batches:
        out.buffer.write(batch)
        out.flush()  # who reads a pipe need not wait for the next batch


def _text() -> Format:
    from bounceml.writers import text

    return Format(lambda first, out: verdicts_of, text.write)


def _jsonl() -> Format:
    from bounceml.writers import jsonl

    return Format(lambda first, out: jsonl.encode, _write_bytes)


def _csv() -> Format:
    from bounceml.writers import table

    return Format(table.begin, _write_bytes)


def _parquet() -> Format:
    from bounceml import arrow
    from bounceml.writers import parquet

    return Format(lambda first, out: arrow.Encoder.of(first), parquet.write)


def _suppression() -> Format:
    from bounceml.writers import suppression

    return Format(lambda first, out: verdicts_of, suppression.write)


_FORMATS = {"text": _text, "jsonl": _jsonl, "csv": _csv, "parquet": _parquet, "suppression": _suppression}


def format_of(name: str) -> Format:
    """Return the format of a name: ``text``, ``jsonl``, ``csv``, ``parquet`` or ``suppression``."""
    return _FORMATS[name]()
