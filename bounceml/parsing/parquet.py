"""Parquet tables, read in batches, so that memory does not grow with the table.

pyarrow is the one package that both writes and reads it in bounded memory; it is imported where a table is met.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from bounceml.errors import InputError
from bounceml.values import Reply

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"PAR1"  # the first and the last bytes of a file: https://parquet.apache.org/docs/file-format/
_BATCH = 4096  # rows that are in memory at once
_BUFFER = 2**20  # bytes of a column that are read ahead


def batches(file: BinaryIO) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of a Parquet table, a few thousand at a time, and before them the number of the first.

    What comes on a pipe is first copied to the disk.

    Raises
    ------
    InputError
        Where pyarrow is not installed, or the rest of the table cannot be read.

    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError("Parquet tables need a package more; install it with: pip install 'bounceml[parquet]'") from None
    number = 1
    with tempfile.TemporaryFile() as copy:
        if not file.seekable():
            shutil.copyfileobj(file, copy)
            file = copy
        try:
            # Without pre_buffer, and with a buffer of its own for each column, no row group is held as a whole.
            table = pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER)
            for batch in table.iter_batches(_BATCH):
                yield number, batch
                number += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            after = f"; what comes after row {number - 1} was not read" if number > 1 else ""
            first, *_ = str(error).splitlines() or [type(error).__name__]
            raise InputError(f"not readable as Parquet ({first}){after}") from None


def read(file: BinaryIO, source: str | None, column: str | None) -> Iterator[Reply]:
    """Yield one reply for each row of a Parquet table."""
    for first, batch in batches(file):
        from bounceml import arrow  # it needs pyarrow, too

        yield from arrow.replies(batch, column, source, first)
