"""An uploaded file as a plain one: unpacked, within a bound, before anything of it is read."""

from __future__ import annotations

import errno
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from bounceml.errors import InputError
from bounceml.parsing import containers, parquet

UNPACKED = 8  # times the largest body is what a compressed one may hold: logs pack to a tenth, and more of them has too many rows
_ARCHIVES = (b"PK\x03\x04", parquet.MAGIC)  # ZIP, and so workbooks: APPNOTE.TXT of PKWARE, section 4.3.7


class ArchiveError(InputError):
    """The file is a ZIP archive or a Parquet table, which are read from their end."""


class TooLargeError(InputError):
    """The file unpacks to more bytes than it may."""


@contextmanager
def opened(file: BinaryIO, name: str, max_bytes: int) -> Iterator[tuple[BinaryIO, str]]:
    """Open an upload: the file to read, and its name without the suffix of a compressed one.

    Parameters
    ----------
    file
        What was sent, at its beginning.
    name
        What it is called where it comes from.
    max_bytes
        As in ``Settings``.

    Raises
    ------
    TooLargeError, ArchiveError
        As they say.
    InputError
        Where it is broken, or compressed twice.
    OSError
        Where there is no room to unpack it (``errno.ENOSPC``).

    """
    head, whole = containers.beginning(file)
    _see_kind(head)
    if not (packed := containers.compression(head)):
        file.seek(0)
        yield file, name
        return
    limit = UNPACKED * max_bytes
    with tempfile.TemporaryFile() as plain:
        try:
            shutil.copyfileobj(_Bounded(containers.unpacked(whole, packed), limit), plain)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise InputError(str(error.strerror or error)) from None
        plain.seek(0)
        head = plain.read(4)
        _see_kind(head)
        if containers.compression(head):
            raise InputError("compressed twice; unpack it once")
        plain.seek(0)
        yield cast(BinaryIO, plain), containers.without_suffix(name)


def _see_kind(head: bytes) -> None:
    if head.startswith(_ARCHIVES):
        raise ArchiveError("no ZIP archive and no Parquet: send the files themselves, or compressed by gzip or zstd")


class _Bounded(io.RawIOBase):
    """Reads a stream to a limit."""

    def __init__(self, content: BinaryIO, limit: int) -> None:
        self._content = content
        self._limit = self._left = limit

    def read(self, size: int = -1) -> bytes:
        piece = self._content.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise TooLargeError(f"unpacked, it has more than {self._limit} bytes; send it in parts")
        return piece
