"""Parquet tables: one reply a row, read in batches, so that memory does not grow with the table.

pyarrow is the one package that both writes and reads it in bounded memory; it is imported where a table is met.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from bounceml.errors import InputError
from bounceml.parsing import rows
from bounceml.parsing.containers import MAX_LINE
from bounceml.values import Reply

MAGIC = b"PAR1"  # the first and the last bytes of a file: https://parquet.apache.org/docs/file-format/
_BATCH = 1000  # rows that are in memory at once
_BUFFER = 2**20  # bytes of a column that are read ahead


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError("Parquet tables need a package more; install it with: pip install 'bounceml[parquet]'") from None
    return pyarrow


def read(file: BinaryIO, source: str | None, column: str | None) -> Iterator[Reply]:
    """Yield one reply for each row of a Parquet table; what comes on a pipe is first copied to the disk.

    Raises
    ------
    InputError
        Where pyarrow is not installed.

    """
    pyarrow = _pyarrow()
    number = 0
    with tempfile.TemporaryFile() as copy:
        if not file.seekable():
            shutil.copyfileobj(file, copy)
            file = copy
        try:
            # Without pre_buffer, and with a buffer of its own for each column, no row group is held as a whole.
            table = pyarrow.parquet.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER)
            for batch in table.iter_batches(_BATCH):
                for row in _plain(pyarrow, batch).to_pylist():
                    number += 1
                    yield from _replies(row, column, source, number)
        except (pyarrow.ArrowException, OSError, ValueError) as error:  # ValueError: bytes that are no text, a time out of range
            place, after = source or "input", f"; what comes after row {number} was not read" if number else ""
            first, *_ = str(error).splitlines() or [type(error).__name__]
            yield Reply("", source=source, error=f"{place}: not readable as Parquet ({first}){after}")


def _plain(pyarrow: Any, batch: Any) -> Any:
    """The batch without what Python has no value for: times in nanoseconds, as microseconds where that loses nothing, else as text."""
    for number, field in enumerate(batch.schema):
        if getattr(field.type, "unit", "") == "ns":
            try:
                column = batch.column(number).cast(_microseconds(pyarrow, field.type))
            except pyarrow.ArrowException:
                column = batch.column(number).cast(pyarrow.string())
            batch = batch.set_column(number, field.name, column)
    return batch


def _microseconds(pyarrow: Any, kind: Any) -> Any:
    if pyarrow.types.is_timestamp(kind):
        return pyarrow.timestamp("us", kind.tz)
    return pyarrow.time64("us") if pyarrow.types.is_time(kind) else pyarrow.duration("us")


def _replies(row: dict[str, object], column: str | None, source: str | None, number: int) -> Iterator[Reply]:
    for reply in rows.replies_of(row, column, source, number):
        if len(reply.text) > MAX_LINE:
            error = f"{reply.source or f'row {number}'}: a reply of more than {MAX_LINE} characters; it was not read"
            yield reply._replace(text="", columns=None, error=error)
        else:
            yield reply
