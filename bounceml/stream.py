"""The inputs that a user names, one after the other, as one stream of entries: what is answered as a whole or not at all."""

from __future__ import annotations

import io
import os
import select
import sys
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO, NamedTuple, cast

from bounceml import parsing
from bounceml.errors import InputError
from bounceml.parsing import containers, rows
from bounceml.values import Reply

_IMAP = ("imap://", "imaps://")


Read = Callable[[Sequence[Any], int], Iterable[Reply]]


class Entry(NamedTuple):
    """Some of an input, read, judged and written at once: a mail, or a few hundred rows; or the input's end.

    ``key`` names the input, once in a run. ``number`` is that of the last of ``items`` (lines, mails, rows as they were read) in the
    input; None says that nothing follows there. ``read`` makes replies of items and the number of the first of them. It can be
    pickled, but where ``settle`` is there: that is told the numbers of the entries whose verdicts are safe. ``proof``, where there
    is one, changes when the numbers are no longer those of an earlier run. ``pipe`` is the file descriptor of an input that may be slow.
    """

    key: str
    number: int | None
    items: Sequence[Any] = ()
    read: Read | None = None
    proof: str | None = None
    settle: Callable[[list[int]], None] | None = None
    pipe: int | None = None

    @property
    def first(self) -> int:
        """The number of the first item."""
        return (self.number or 0) - len(self.items) + 1

    @property
    def replies(self) -> Iterable[Reply]:
        """The replies of the entry; they are read when they are asked for, and must be before the next entry is."""
        return self.read(self.items, self.first) if self.read else ()

    def after(self, number: int) -> Entry:
        """Return the entry without the items up to a number."""
        return self._replace(items=self.items[max(0, number - self.first + 1) :])


def _as_they_are(replies: Sequence[Reply], _first: int) -> Iterable[Reply]:
    return replies


def _failed(key: str, number: int, reply: Reply, proof: str | None = None) -> Entry:
    return Entry(key, number, [reply], _as_they_are, proof)


class _Asked(NamedTuple):
    """What the user asked of all inputs; the fields are the parameters of ``entries``."""

    form: str
    column: str | None
    say: Callable[[str], None]
    answered: Container[str]
    ours: Container[str]
    imap_done: str | None


def _exists(argument: str) -> bool:
    try:
        return os.path.lexists(argument)
    except (OSError, ValueError):  # too long for a name, or with a NUL byte: a text
        return False


# --- one open stream --------------------------------------------------------------------------------------------


class _Opened(NamedTuple):
    content: BinaryIO
    form: str
    pipe: int | None  # its file descriptor, where somebody may wait for the answers on its rows
    guess: str  # what to say that the stream was taken for


def _opened(file: BinaryIO, name: str, form: str, in_folder: bool = False) -> _Opened:
    """Look into a stream: unpack it where it is compressed, and recognise its form where none is named."""
    whole = file
    if form == "auto" or not isinstance(file, io.BufferedReader):
        head, file = containers.beginning(file)
    else:
        head = file.peek(4)  # enough for the magic number, and nobody waits for more of a slow pipe
    packed = containers.compression(head)
    if packed:
        head, file = containers.beginning(containers.unpacked(file, packed))
        if containers.compression(head):
            raise InputError("compressed twice; unpack it once")
    if form == "auto":
        form = parsing.recognise(head, containers.without_suffix(name) if packed else name)
        if in_folder and form == "reply" and b"\0" in head:
            raise InputError("neither a mail nor text; take it out of the folder")
    if form == "parquet" and not packed and whole.seekable():  # its directory stands at its end
        whole.seek(0)
        file = whole
    return _Opened(file, form, None if whole.seekable() else whole.fileno(), f"{form} ({packed})" if packed else form)


_ROWS = 500  # of a table or log that are answered at once


def idle(pipe: int | None) -> bool:
    """Say whether nothing is at hand on a pipe, so that what was read should be answered now."""
    if pipe is None:
        return False
    try:
        return not select.select([pipe], [], [], 0)[0]
    except (OSError, ValueError):  # where this is for sockets alone, nobody is kept waiting
        return True


def _mail(source: str | None, raw: Sequence[bytes | None], _first: int) -> Iterable[Reply]:
    return parsing.read_mail(raw[0], source)


def _parts(opened: _Opened, source: str | None, column: str | None) -> Iterator[tuple[Sequence[Any], Read]]:
    """Yield what a stream holds, in parts, each with what makes replies of it."""
    if opened.form == "mbox":
        for number, raw in enumerate(containers.mails(opened.content), 1):
            yield [raw], partial(_mail, f"{source}#{number}" if source else None)
    elif opened.form == "eml":
        yield [containers.whole(opened.content)], partial(_mail, source)
    elif opened.form == "parquet":
        from bounceml.parsing import parquet

        for first, batch in parquet.batches(opened.content):
            yield [batch], partial(_table, source, column, first)
    elif opened.form in parsing.BY_LINE:
        for lines in containers.blocks(opened.content):
            yield lines, partial(parsing.read_block, opened.form, source, column)
    else:
        some: list[Reply] = []
        for reply in parsing.read(opened.content, opened.form, source, column):
            some.append(reply)
            if len(some) >= _ROWS or idle(opened.pipe):
                yield some, _as_they_are
                some = []
        if some:
            yield some, _as_they_are


def _table(source: str | None, column: str | None, first_row: int, batches: Sequence[Any], _first: int) -> Iterable[Reply]:
    from bounceml import arrow

    return arrow.replies(batches[0], column, source, first_row)


def _of_stream(file: BinaryIO, path: str | None, key: str, asked: _Asked, note: Callable[[str], None], in_folder: bool) -> Iterator[Entry]:
    """Yield the entries of a stream; where it breaks off, one with ``error`` that says so."""
    name, number = path or "standard input", 0
    try:
        opened = _opened(file, path or "", asked.form, in_folder)
        note(opened.guess)
        for items, read in _parts(opened, path, asked.column):
            number += len(items)
            yield Entry(key, number, items, read, pipe=opened.pipe)
        return
    except InputError as error:
        why = str(error)
    except OSError as error:
        after = f"; what comes after entry {number} was not read" if number else ""
        why = f"cannot be read ({error.strerror or error}){after}"
    yield _failed(key, number + 1, Reply("", source=path, error=f"{name}: {why}"))


# --- one argument -----------------------------------------------------------------------------------------------


def _file(path: str, key: str, asked: _Asked, note: Callable[[str], None], in_folder: bool = False) -> Iterator[Entry]:
    if key in asked.answered:
        return
    try:
        with _open(path, in_folder) as file:
            yield from _of_stream(file, path, key, asked, note, in_folder)
    except OSError as error:  # of the opening: those of the reading have an entry already
        why = f"{path}: cannot be read ({error.strerror}); check the name and its permissions"
        yield _failed(key, 1, Reply("", source=path, error=why))
    yield Entry(key, None)


def _open(path: str, in_folder: bool) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        moved = containers.moved_mail(path) if in_folder else None
        if moved is None:
            raise
        return open(moved, "rb")


def _folder(path: str, prefix: str, asked: _Asked) -> Iterator[Entry]:
    forms: Counter[str] = Counter()
    guessed = asked.form == "auto"

    def note(form: str) -> None:
        forms[form] += 1

    maildir = asked.form == "maildir"
    if maildir:
        asked = asked._replace(form="eml")
    for found in containers.files(path, maildir):
        if isinstance(found, OSError):
            why = f"{found.filename}: cannot be read ({found.strerror}); check its permissions"
            yield _failed(f"{prefix}{found.filename}", 1, Reply("", source=found.filename, error=why), proof="")
        elif not asked.ours or os.path.realpath(found.path) not in asked.ours:
            form = "eml" if found.is_mail else asked.form
            yield from _file(found.path, prefix + found.key, asked._replace(form=form), note, in_folder=True)
    if guessed:
        held = ", ".join(f"{count} {form}" for form, count in sorted(forms.items()))
        asked.say(f"{path}: read as a folder of {held or 'nothing new'}")


def _standard_input(key: str, asked: _Asked, note: Callable[[str], None]) -> Iterator[Entry]:
    yield from _of_stream(sys.stdin.buffer, None, key, asked, note, in_folder=False)
    yield Entry(key, None)


def _mailbox(url: str, key: str, asked: _Asked) -> Iterator[Entry]:
    from bounceml.mailbox import Mailbox  # it needs a package that only mailboxes need

    if key in asked.answered:
        return
    with Mailbox(url, asked.imap_done) as box:
        for uid in box.uids():
            yield Entry(key, uid, [uid], lambda uids, _: box.replies(uids[0]), box.validity, box.settle)
        yield Entry(key, None, proof=box.validity, settle=box.settle)  # while the mailbox is still open


def _text(argument: str, key: str, asked: _Asked) -> Iterator[Entry]:
    raw = argument.encode("utf-8", "surrogateescape")
    form = parsing.recognise(raw[: containers.HEAD]) if asked.form == "auto" else asked.form
    if form == "reply":
        yield Entry(key, 1, rows.from_text(argument), _as_they_are)
    else:
        number = 0
        for items, read in _parts(_Opened(cast(BinaryIO, io.BufferedReader(io.BytesIO(raw))), form, None, ""), None, asked.column):
            number += len(items)
            yield Entry(key, number, items, read)
    yield Entry(key, None)


def _of(argument: str, number: int, asked: _Asked) -> Iterator[Entry]:
    def note(form: str) -> None:
        if asked.form == "auto" and form != parsing.form_of_name(argument):  # what its name says needs no telling
            asked.say(f"{'standard input' if argument == '-' else argument}: read as {form}")

    prefix = f"{number}:"  # the same file may be named twice
    if argument == "-":
        return _standard_input(prefix, asked, note)
    if names_mailbox([argument]):
        return _mailbox(argument, prefix + argument, asked)
    if not _exists(argument):
        return _text(argument, prefix, asked)
    if os.path.isdir(argument):
        return _folder(argument, prefix, asked)
    if asked.form == "maildir":
        return iter([_failed(prefix, 1, Reply("", source=argument, error=f"{argument}: is no folder; a Maildir is one"))])
    return _file(argument, prefix + argument, asked, note)


def names_mailbox(arguments: Iterable[str]) -> bool:
    """Say whether one of the arguments is a mailbox."""
    return any(argument.lower().startswith(_IMAP) for argument in arguments)


def _nothing(message: str) -> None:
    """Say nothing."""


def entries(
    arguments: Sequence[str],
    form: str = "auto",
    column: str | None = None,
    *,
    say: Callable[[str], None] = _nothing,
    answered: Container[str] = frozenset(),
    ours: Container[str] = frozenset(),
    imap_done: str | None = None,
) -> Iterator[Entry]:
    """Yield the entries of all inputs, in the order they are named, each input closed by one without a number.

    Parameters
    ----------
    arguments
        What the user named: an argument that exists on disk is read (a folder with all that is in it), an ``imap://`` or
        ``imaps://`` address is a mailbox, ``-`` is standard input, and anything else is taken as the text itself. Where
        nothing is named, standard input is read.
    form
        ``auto``, ``maildir``, or a key of ``parsing.READERS``.
    column
        The column or field that holds the reply, for tables.
    say
        Is told, once an input, what was taken for what.
    answered
        Keys of inputs to leave out.
    ours
        Real paths of files to leave out of folders: those that this run writes.
    imap_done
        What becomes of an answered mail on the server: ``seen``, ``move:FOLDER``, or nothing.

    """
    asked = _Asked(form, column, say, answered, ours, imap_done)
    for number, argument in enumerate(arguments or ["-"]):
        yield from _of(argument, number, asked)


def of_file(file: BinaryIO, name: str, form: str = "auto", column: str | None = None) -> Iterator[Entry]:
    """Yield the entries of an open file, such as an upload; ``name`` tells its form where that is ``auto``, and is the replies' source."""
    yield from _of_stream(file, name, name, _Asked(form, column, _nothing, (), (), None), _nothing, in_folder=False)


def replies(arguments: Sequence[str], form: str = "auto", column: str | None = None) -> Iterator[Reply]:
    """Yield the replies of all inputs, in the order they are named; the parameters are those of ``entries``."""
    for entry in entries(arguments, form, column):
        yield from entry.replies
