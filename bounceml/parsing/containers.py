"""What holds other inputs: compressed files, mailboxes, folders. All of it is read as a stream, whatever its size."""

from __future__ import annotations

import errno
import io
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple, cast

from bounceml.errors import InputError
from bounceml.values import Reply

HEAD = 16_384  # bytes that tell what an input is
MAX_MAIL = 64 * 2**20  # bytes; large providers take mails of 25 to 50 MB, and a bounce returns one at most
MAX_LINE = 2**20  # bytes; a reply of RFC 5321 section 4.5.3.1.5 has 512, a JSON event with its headers some 100,000
_CHUNK = 65_536
_BLOCK = 65_536  # bytes of lines that are read at once


# --- streams ----------------------------------------------------------------------------------------------------


class _Joined(io.RawIOBase):
    """A stream that begins with bytes already taken from it; whatever it raises names what is broken."""

    def __init__(self, head: bytes, read: Callable[[int], bytes], broken: str) -> None:
        self._head = head
        self._read = read
        self._broken = broken

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # Buffer is of Python 3.12
        if self._head:
            data, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        else:
            try:
                data = self._read(len(buffer))
            except (EOFError, OSError, ValueError, zlib.error, _zstd_error()) as error:
                if isinstance(error, OSError) and error.errno:  # the disk's own trouble, or that of a stream below
                    raise
                raise OSError(errno.EIO, f"{self._broken}: {error}") from None
        buffer[: len(data)] = data
        return len(data)


def beginning(file: BinaryIO) -> tuple[bytes, BinaryIO]:
    """Return the first bytes of a stream, and the stream with them still in it.

    A pipe gives its bytes in pieces, so that a single ``peek`` may see half a line. Where the stream breaks off, what came
    before is its beginning; whoever reads on meets the break.
    """
    pieces: list[bytes] = []
    missing = HEAD
    read = file.read1 if isinstance(file, io.BufferedReader) else file.read
    while missing:
        try:
            piece = read(missing)
        except OSError:
            if not pieces:
                raise
            break
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    head = b"".join(pieces)
    return head, io.BufferedReader(_Joined(head, read, "the stream is broken"), _CHUNK)


# --- compression ------------------------------------------------------------------------------------------------

# Magic numbers: RFC 1952 section 2.3.1 and RFC 8878 section 3.1.1.
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_SUFFIXES = (".gz", ".zst")


def compression(head: bytes) -> str | None:
    """Return how a stream is compressed.

    >>> compression(bytes.fromhex("1f8b08")), compression(b"550 5.1.1 no such user")
    ('gzip', None)
    """
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def without_suffix(path: str) -> str:
    """Return a name without the suffix of a compressed file.

    >>> without_suffix("mail.log.1.gz")
    'mail.log.1'
    """
    root, suffix = os.path.splitext(path)
    return root if suffix.lower() in _SUFFIXES else path


def unpacked(file: BinaryIO, how: str) -> BinaryIO:
    """Return the content of a compressed stream, as a stream that never holds more than a block.

    Raises
    ------
    InputError
        Where zstd is not installed.

    """
    read = _gzip(file) if how == "gzip" else _zstd(file)
    return io.BufferedReader(_Joined(b"", read, f"the {how} data are broken or cut off"), _CHUNK)


def _gzip(file: BinaryIO) -> Callable[[int], bytes]:
    from gzip import GzipFile

    return GzipFile(fileobj=file, mode="rb").read1  # else it takes over the mode of a temporary file, which is to be written


def _zstd(file: BinaryIO) -> Callable[[int], bytes]:
    # Frames that want a window of more than 128 MB are refused by the library's default (ZSTD_WINDOWLOG_LIMIT_DEFAULT).
    try:
        from compression.zstd import ZstdFile  # type: ignore[import-not-found, unused-ignore]  # Python 3.14
    except ImportError:
        try:
            from backports.zstd import ZstdFile
        except ImportError:
            raise InputError("zstd data need a package more; install it with: pip install 'bounceml[zstd]'") from None
    return cast(Callable[[int], bytes], ZstdFile(file).read1)


def _zstd_error() -> type[Exception]:
    """The error of the zstd package, where one is loaded: it derives from Exception alone."""
    import sys

    for name in ("compression.zstd", "backports.zstd"):
        if name in sys.modules:
            return cast(type[Exception], sys.modules[name].ZstdError)
    return EOFError


# --- lines ------------------------------------------------------------------------------------------------------


def bounded(
    reader: Callable[[Iterable[bytes], str | None, str | None], Iterator[Reply]], limit: int = MAX_LINE
) -> Callable[[BinaryIO, str | None, str | None], Iterator[Reply]]:
    r"""Return a reader of lines that is never given one of more than ``limit`` bytes: such a line is a row with ``error``.

    >>> from bounceml.parsing import rows
    >>> short = bounded(rows.read_lines, 8)
    >>> [reply.text or reply.error for reply in short(io.BytesIO(b"550 no\n550 too long a line\n551\n"), "a", None)]
    ['550 no', 'a:2: a line of more than 8 bytes; it was not read', '551']
    """

    def read(file: BinaryIO, source: str | None, column: str | None) -> Iterator[Reply]:
        too_long: list[int] = []

        def complaints() -> Iterator[Reply]:
            while too_long:
                place = f"{source}:{too_long[0]}" if source else None
                what = f"a line of more than {limit} bytes; it was not read"
                yield Reply("", source=place, error=f"{place or f'line {too_long[0]}'}: {what}")
                del too_long[0]

        for reply in reader(_short_lines(file, limit, too_long), source, column):
            yield from complaints()
            yield reply
        yield from complaints()

    return read


def _short_lines(file: BinaryIO, limit: int, too_long: list[int]) -> Iterator[bytes]:
    """Yield the lines; in place of one that is too long an empty one, so that the numbers stay right."""
    number = 0
    while line := file.readline(limit + 1):
        number += 1
        if len(line) > limit:
            while line and not line.endswith(b"\n"):
                line = file.readline(_CHUNK)
            too_long.append(number)
            line = b"\n"
        yield line


def blocks(file: BinaryIO, limit: int = MAX_LINE) -> Iterator[list[bytes | None]]:
    r"""Yield the lines of a stream, as many at once as it has at hand; None for one of more than ``limit`` bytes.

    >>> list(blocks(io.BufferedReader(io.BytesIO(b"550 no\n550 too long a line\n551")), 8))
    [[b'550 no', None], [b'551']]
    """
    read = file.read1 if isinstance(file, io.BufferedReader) else file.read
    rest = b""
    while piece := read(_BLOCK):
        *lines, rest = (rest + piece).split(b"\n")
        if lines:
            yield [line if len(line) <= limit else None for line in lines]
        rest = rest[: limit + 1]  # enough to know that it is too long
    if rest:
        yield [rest if len(rest) <= limit else None]


# --- mails ------------------------------------------------------------------------------------------------------


def whole(file: BinaryIO) -> bytes | None:
    """Return the bytes of a mail, or None where it is larger than ``MAX_MAIL``."""
    raw = file.read(MAX_MAIL + 1)
    return raw if len(raw) <= MAX_MAIL else None


# RFC 4155 appendix A: "From", the sender, and a time as asctime() writes it; some writers add a zone or change the order.
_DATED = re.compile(rb"From (?:\S[^\n]{0,400}? )?(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? [^\n]{0,20}?\d\d?:\d\d[^\n]{0,60}\r?\n")
_FIELD = re.compile(
    rb"(?:Return-Path|Received|Delivered-To|X-[A-Za-z-]{1,60}|From|To|Date|Subject|Message-ID|MIME-Version|Content-[A-Za-z-]{1,40}"
    rb"|DKIM-Signature|ARC-[A-Za-z-]{1,40}|Authentication-Results|Reply-To|Sender|Status|Envelope-to|Auto-Submitted)[ \t]*:",
    re.IGNORECASE,
)
_QUOTED = re.compile(rb">+From ")


def mails(file: BinaryIO, limit: int = MAX_MAIL) -> Iterator[bytes | None]:
    r"""Yield the mails of a mailbox in mbox format, one at a time; None for one of more than ``limit`` bytes.

    A "From " line parts two mails where two of three signs are there: an empty line before it, a time in it, a header
    field after it. So neither a mail with a broken header nor a sentence that begins with "From" misleads. A ">" that a
    writer put before such a line of a mail is taken off again.

    Source: RFC 4155; the variants mboxo and mboxrd as in https://www.loc.gov/preservation/digital/formats/fdd/fdd000385.shtml

    >>> list(mails(io.BytesIO(b"From a Thu Jan  1 00:00:00 2026\nTo: b\n\n>From c\n\nFrom d Thu Jan  1 00:00:00 2026\nno header\n")))
    [b'To: b\n\nFrom c\n\n', b'no header\n']
    """
    kept: list[bytes] = []
    size = 0
    begun = False
    blank_before = line_starts = True
    line = file.readline(_CHUNK)
    while line:
        following = file.readline(_CHUNK)
        if line_starts and line.startswith(b"From ") and _parts(blank_before, line, following):
            if begun or size > limit or b"".join(kept).strip():
                yield b"".join(kept) if size <= limit else None
            kept, size, begun = [], 0, True
        else:
            size += len(line)
            if size > limit:
                kept = []
            else:
                kept.append(line[1:] if line_starts and _QUOTED.match(line) else line)
        blank_before = line_starts and not line.strip()
        line_starts = line.endswith(b"\n")
        line = following
    if begun or size > limit or b"".join(kept).strip():
        yield b"".join(kept) if size <= limit else None


def _parts(blank_before: bool, line: bytes, following: bytes) -> bool:
    signs = blank_before + bool(_DATED.match(line)) + bool(_FIELD.match(following))
    return signs >= 2


def begins_mailbox(head: bytes) -> bool:
    r"""Return whether a stream begins as a mailbox does.

    >>> begins_mailbox(b"From joe@example.com Thu Jan  1 00:00:00 2026\nTo: b\n"), begins_mailbox(b"From here on: all full\n")
    (True, False)
    """
    line, _, following = head.partition(b"\n")
    return line.startswith(b"From ") and _parts(True, line + b"\n", following)


# --- folders ----------------------------------------------------------------------------------------------------


class File(NamedTuple):
    """A file in a folder. ``key`` is what stays when a mail program marks the mail as read; ``is_mail`` in a Maildir."""

    path: str
    key: str
    is_mail: bool


def is_maildir(names: Iterable[str]) -> bool:
    """Return whether a folder with these folders in it is a Maildir.

    Source: https://cr.yp.to/proto/maildir.html (cur, new and tmp; a backup may leave out one that is empty).
    """
    return len({"cur", "new", "tmp"} & set(names)) >= 2


def files(folder: str, maildir: bool = False) -> Iterator[File | OSError]:
    """Yield the files of a folder and of the folders in it, sorted by name; an error where a folder cannot be read.

    In a Maildir only the mails are files: not those still being delivered (``tmp``), nor the server's indices. Elsewhere
    names that begin with a dot are left out, and so is what is no regular file: reading a named pipe would wait for ever.
    """
    stack = [(folder, maildir)]
    while stack:
        here, holds_mails = stack.pop()
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield error
            continue
        inner = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]  # a link may lead back here
        if holds_mails or is_maildir(entry.name for entry in inner):
            mailboxes = [entry for entry in inner if entry.name in ("cur", "new")]
            yield from _delivered(here, [entry.path for entry in mailboxes])
            inner = [entry for entry in inner if entry.name not in ("cur", "new", "tmp")]
        else:
            inner = [entry for entry in inner if not entry.name.startswith(".")]
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_file():
                    yield File(entry.path, entry.path, False)
        stack.extend((entry.path, False) for entry in reversed(inner))


def _delivered(maildir: str, mailboxes: Iterable[str]) -> Iterator[File | OSError]:
    for mailbox in mailboxes:
        try:
            names = sorted(os.listdir(mailbox))
        except OSError as error:
            yield error
            continue
        for name in names:
            if not name.startswith("."):
                yield File(os.path.join(mailbox, name), os.path.join(maildir, _unique(name)), True)


def _unique(name: str) -> str:
    """The part of a mail's name that no program changes: what follows a colon are its flags."""
    return name.partition(":")[0]


def moved_mail(path: str) -> str | None:
    """Return where a mail of a Maildir is now, after a mail program took it out of ``new`` or changed its flags."""
    folder, name = os.path.split(path)
    for mailbox in ("cur", "new"):
        place = os.path.join(os.path.dirname(folder), mailbox)
        try:
            names = os.listdir(place)
        except OSError:
            continue
        for found in names:
            if _unique(found) == _unique(name):
                return os.path.join(place, found)
    return None
