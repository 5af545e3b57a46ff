"""Where verdicts go: standard output, or a file that is there when it is complete and that a killed run goes on with.

Beside ``out.jsonl`` two files stand while it is written:

out.jsonl.part   the rows so far
out.jsonl.run    what the run was, then a line each moment: how many bytes of the rows count, and what they answer

A run that finds both cuts the rows back to the last line's bytes and leaves out what they answer. An entry of the input
(a mail, a row) is never cut in two, so each ends with its verdicts once. A line is written after the rows it tells of; a
killed process loses neither, as the system has them, and where the power fails the length of ``.part`` tells which line
to believe.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, NamedTuple, TextIO, cast

from bounceml import __version__, artefact
from bounceml.errors import UsageError
from bounceml.stream import Entry
from bounceml.values import Reply
from bounceml.work import Answer, Part

if sys.platform != "win32":
    import fcntl

FORMATS = ("jsonl", "csv")  # those that can be gone on with: each row stands for itself
LISTS = ("suppression",)  # those that are known at the end: a run that finds what a killed one left starts over
CHECKPOINT_EVERY = 0.2  # seconds of work that a kill may undo; a checkpoint takes 0.1 ms, or a disk's and a server's time

Answers = Callable[[Iterable[Entry]], Iterator[Answer]]
_Answered = tuple[int, str]  # the last number of an input, and the proof that the numbers still mean the same


class Output:
    """Takes the encoded verdicts on entries, one after the other.

    ``file`` is where they are to be written, ``answered`` the inputs that an earlier run has answered, and ``unread``
    counts the verdicts with an error, those of an earlier run among them.
    """

    def __init__(self, file: TextIO, earlier: _State, journal: _Journal | None = None, full: str | None = None) -> None:
        self.file = file
        self.unread = earlier.unread
        self.answered = earlier.whole
        self._earlier = earlier
        self._journal = journal
        self._full = full  # why nothing can be written, should there be something to write
        self._last: Entry | None = None
        self._changed: dict[str, _Answered | None] = {}
        self._settle: Callable[[list[int]], None] | None = None
        self._unsettled: dict[str, list[int]] = {}
        self._due = 0.0

    def parts(self, entries: Iterable[Entry], answers: Answers) -> Iterator[Part]:
        """Yield what is still to be written; each must be written before the next is asked for.

        Parameters
        ----------
        entries
            Those of all inputs.
        answers
            Makes the parts that answer an entry, in the order of the entries.

        """
        if self._journal and self._earlier.bytes:
            self.file.seek(self._earlier.bytes)  # a writer has not written before, or has written the same once more
        if self._earlier.complete:
            return
        for entry, parts in answers(self._unanswered(entries)):
            if entry.number is None:
                self._end(entry)
                continue
            before = self.unread
            for part in parts:
                self.unread += len(part.errors)
                yield part
            self._answered(entry, safe=self.unread == before)  # a mail that could not be read stays where it is

    def _unanswered(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield the entries that no earlier run has answered, and the ends of all inputs."""
        reached = 0
        for entry in entries:
            if self._full and entry.number is not None:
                raise UsageError(self._full)
            found = self._earlier.answered.get(entry.key)
            if entry.number is None:
                if found and entry.proof is None and reached < found[0]:
                    raise self._changed_input(entry)
                reached = 0
                yield entry
                continue
            reached = entry.number
            if found is None:
                yield entry
                continue
            last, proof = found
            if (entry.proof is not None or entry.first <= last <= entry.number) and proof != _proof(entry, last):
                raise self._changed_input(entry)
            if entry.number in self._earlier.unsettled.get(entry.key, ()):
                self._to_settle(entry)
            if entry.number > last:
                yield entry.after(last)

    def _changed_input(self, entry: Entry) -> UsageError:
        assert self._journal, "only a journal tells of an earlier run"
        return self._journal.changed(entry)

    def _answered(self, entry: Entry, safe: bool) -> None:
        if not self._journal:
            return
        self._last = entry
        if safe:
            self._to_settle(entry)
        if time.monotonic() > self._due:
            self._checkpoint(self._journal)

    def _to_settle(self, entry: Entry) -> None:
        if entry.settle and entry.number is not None:
            self._settle = entry.settle
            self._unsettled.setdefault(entry.key, []).append(entry.number)

    def _end(self, entry: Entry) -> None:
        """Close an input. Its last mails are settled first: a run killed in between must come back to it."""
        if not self._journal:
            return
        if entry.settle:
            self._checkpoint(self._journal)
        self._last = None
        self._changed[entry.key] = None
        if time.monotonic() > self._due:
            self._checkpoint(self._journal)

    def _checkpoint(self, journal: _Journal) -> None:
        if self._last:
            number = self._last.number or 0
            self._changed[self._last.key] = (number, _proof(self._last, number))
        self.file.flush()
        if self._unsettled:
            os.fsync(self.file.fileno())
        journal.write(self.file.tell(), self.unread, self._changed, self._unsettled)
        if self._settle:
            for numbers in self._unsettled.values():
                self._settle(numbers)
        self._last, self._changed, self._settle, self._unsettled = None, {}, None, {}
        self._due = time.monotonic() + CHECKPOINT_EVERY

    def complete(self) -> None:
        """Make sure that all is on the disk, and record that nothing follows."""
        self.file.flush()
        os.fsync(self.file.fileno())
        if self._journal:
            self._journal.write(self.file.tell(), self.unread, self._changed, {}, complete=True)


def _proof(entry: Entry, number: int) -> str:
    """What tells that the item of a number is the one an earlier run answered: the entry's own proof, or a checksum of the item."""
    if entry.proof is not None:
        return entry.proof
    item = entry.items[number - entry.first]
    told = item if isinstance(item, bytes) else repr((item.text, item.recipient, item.error) if isinstance(item, Reply) else item)
    return f"{zlib.crc32(told if isinstance(told, bytes) else told.encode('utf-8', 'surrogatepass')):08x}"


# --- the record of a run ----------------------------------------------------------------------------------------


class _State(NamedTuple):
    """How far a run came: ``whole`` are the inputs that it answered, ``answered`` those that it was in the middle of."""

    bytes: int
    unread: int
    answered: dict[str, _Answered]
    whole: set[str]
    unsettled: dict[str, list[int]]
    complete: bool


_NOTHING = _State(0, 0, {}, set(), {}, complete=False)


def _state(rows: Iterable[dict[str, Any]], size: int) -> _State:
    """Return what the lines of a record tell, as far as ``size`` bytes of rows are there."""
    state = _State(0, 0, {}, set(), {}, complete=False)
    for row in rows:
        if row["bytes"] > size:
            break
        for key, found in row["answered"].items():
            state.answered.pop(key, None)
            if found is None:
                state.whole.add(key)
            else:
                state.answered[key] = (found[0], found[1])
        state = state._replace(bytes=row["bytes"], unread=row["unread"], unsettled=row["unsettled"], complete=row["complete"])
    return state


class _Journal:
    """The record beside the rows, while it is written."""

    def __init__(self, path: Path, run: dict[str, object], state: _State) -> None:
        self.path = path
        new = path.with_suffix(".run-new")
        self._file: IO[bytes] = new.open("wb", buffering=0)
        self._file.write(_line({"run": run}))
        self.write(state.bytes, state.unread, {**state.answered, **dict.fromkeys(state.whole)}, state.unsettled, state.complete)
        new.replace(path)

    def write(
        self, size: int, unread: int, answered: dict[str, _Answered | None], unsettled: dict[str, list[int]], complete: bool = False
    ) -> None:
        row = {"bytes": size, "unread": unread, "answered": answered, "unsettled": unsettled, "complete": complete}
        self._file.write(_line(row))
        if unsettled or complete:
            os.fsync(self._file.fileno())

    def changed(self, entry: Entry) -> UsageError:
        name, part = entry.key.partition(":")[2] or "the input", self.path.with_suffix(".part")
        return UsageError(f"{name}: is no longer what {part} was written from; delete {part.name} to start over")

    def close(self) -> None:
        self._file.close()


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def _recorded(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """Return what a run was and the lines on how far it came, or None where there is no record."""
    try:
        first, *rows = path.read_bytes().split(b"\n")[:-1]  # what follows the last line end was cut off
        return json.loads(first)["run"], [json.loads(row) for row in rows]
    except (OSError, ValueError, KeyError):
        return None


def run_of(arguments: Mapping[str, Any]) -> dict[str, object]:
    """Return what decides the content of an output: the arguments of ``bounceml predict``, the version, the model and the user's files.

    A relative path means another file in another folder, so that is part of it.
    """
    decisive = ("inputs", "format", "column", "to", "lang", "audience", "scheme", "explain", "threshold", "imap_done")
    run = {name: arguments[name] for name in decisive}
    run |= {name: artefact.digest(arguments[name]) if arguments[name] else None for name in ("policy", "rules")}
    folder = arguments["model"] or artefact.default_folder()
    return {**run, "folder": os.getcwd(), "model": artefact.digest(folder / artefact.MANIFEST), "version": __version__}


def names(path: Path | None) -> frozenset[str]:
    """Return the real paths of the files that a run with this output writes: it must not read them."""
    return frozenset(os.path.realpath(f"{path}{suffix}") for suffix in ("", ".part", ".run", ".run-new")) if path else frozenset()


# --- opening and completing -------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path | None, run: dict[str, object], *, settles: bool = False, say: Callable[[str], None]) -> Iterator[Output]:
    """Open the place for verdicts, and complete the file where all went well.

    Parameters
    ----------
    path
        The file, or None for standard output.
    run
        All that decides the content of the file, for a run goes on only with what its like left; ``inputs`` is what the
        user named, ``to`` the format.
    settles
        Whether the inputs are changed as soon as their verdicts are safe.
    say
        Is told where the run goes on with an earlier one.

    Raises
    ------
    UsageError
        Where the file cannot be written, is being written, or was begun by another run.

    """
    # A link is followed and not replaced: /dev/stdout is one, and leads to a file where the shell sends the output to one.
    is_file = path is not None and not path.is_symlink() and (path.is_file() or not path.exists())
    if settles and not (is_file and run["to"] in FORMATS):
        raise UsageError("--imap-done needs a file in which the verdicts are safe; name one with -o, and --to jsonl or csv")
    if path is None:
        with _standard_output(run["to"] in FORMATS + LISTS) as file:
            yield Output(file, _NOTHING)
    elif not (is_file and run["to"] in FORMATS + LISTS):
        with _writable(path, os.O_TRUNC) as file:
            yield Output(file, _NOTHING)
    else:
        with _part(path, run, settles, say) as output:
            yield output


@contextmanager
def _standard_output(for_programs: bool) -> Iterator[TextIO]:
    """Standard output; what programs read is UTF-8 whatever the locale of a mail server or cron is."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8" if for_programs else None, errors="backslashreplace")
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try to write the rest as it ends
        raise UsageError(f"standard output: cannot be written ({error.strerror}); make room there and run again") from None


def _writable(path: Path, flags: int = 0, name: Path | None = None, readable: bool = False) -> TextIO:
    # The bytes of a file name that are no UTF-8 are written as "\udcff", which JSON reads as what Python has for them.
    try:
        way, mode = (os.O_RDWR, "w+") if readable else (os.O_WRONLY, "w")  # a table's header is read again when a run goes on
        return cast(TextIO, os.fdopen(os.open(path, way | os.O_CREAT | flags, 0o666), mode, -1, "utf-8", "backslashreplace", ""))
    except OSError as error:
        raise UsageError(f"{name or path}: cannot be written ({error.strerror}); name another file with -o") from None


@contextmanager
def _part(path: Path, run: dict[str, object], settles: bool, say: Callable[[str], None]) -> Iterator[Output]:
    part, record = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.run")
    if path.exists() and not part.exists():
        was, rows = _recorded(record) or ({}, [])
        if was == run and (state := _state(rows, sys.maxsize)).complete:  # killed after the last step but one
            say(f"{path}: was complete already")
            record.unlink(missing_ok=True)
            with Path(os.devnull).open("w") as nowhere:
                yield Output(nowhere, state)
            return
        if settles:  # a run that was killed as it ended, or the next one; the server has the answer
            full = f"{path}: holds verdicts on mails that are settled already; name another file with -o"
            with Path(os.devnull).open("w") as nowhere:
                yield Output(nowhere, _NOTHING, full=full)
            return
    with _writable(part, name=path, readable=True) as file:
        _lock(file, part)
        state = _left(part, record, run)
        file.truncate(state.bytes)
        if state.bytes:
            say(f"{path}: going on with what an earlier run left in {part.name}")
        with closing(_Journal(record, run, state)) as journal:
            output = Output(file, state, journal)
            yield output
            output.complete()
        part.replace(path)
    _sync_folder(path.parent)
    record.unlink(missing_ok=True)


def _lock(file: TextIO, part: Path) -> None:
    """Make sure that no other run writes this file, nor has just completed it under our hands."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.path.samestat(os.fstat(file.fileno()), part.stat())
    except OSError:
        ours = False
    if not ours:
        raise UsageError(f"{part}: another run is writing it; wait for its end, or name another file with -o")


def _left(part: Path, record: Path, run: dict[str, object]) -> _State:
    """Return how far an earlier run came."""
    size = part.stat().st_size
    if size == 0:
        return _NOTHING
    found = _recorded(record)
    if found is None:
        raise UsageError(f"{part}: has no record of its run ({record.name}); delete it to start over")
    was, rows = found
    if other := sorted(name for name in {*was, *run} if was.get(name) != run.get(name)):
        raise UsageError(
            f"{part}: was left by another run ({', '.join(other)} differ); repeat that one to finish it, or delete the file to start over"
        )
    inputs = run["inputs"]
    if run["to"] in LISTS:
        return _NOTHING
    if isinstance(inputs, list) and (not inputs or "-" in inputs):
        return _NOTHING  # what came on standard input does not come again
    return _state(rows, size)


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk too; not every system and file system can."""
    with suppress(OSError):
        found = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(found)
        finally:
            os.close(found)
