"""Entries to encoded verdicts, in their order: here, or in as many processes as the user asks for."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

from bounceml import process
from bounceml.errors import BouncemlError
from bounceml.stream import Entry, Read, idle
from bounceml.values import Finding, Reply

_AT_ONCE = 4096  # replies that are judged and encoded at once: a mail may have a million recipients
_TASK = 131_072  # bytes of input that are handed to a process at once, about a thousand lines: 10 ms of work against 0.3 ms on the way
_MOST = 64  # entries of a task
_AHEAD = 3  # tasks a process may be ahead of what is written: back-pressure, and 1 MB each in memory

Encode = Callable[[list[Finding]], Any]


class Judge(Protocol):
    """What a ``Classifier`` does here."""

    def find(self, reply: Reply, explained: bool = False) -> Finding:
        """Return a reply with the verdict on it."""


class Part(NamedTuple):
    """Some encoded verdicts, how many they are, and what could not be read among them."""

    encoded: Any
    rows: int
    errors: tuple[str, ...]


Answer = tuple[Entry, Iterable[Part]]


class Worker:
    """Reads, judges and encodes; ``encode`` is known with the first findings.

    Parameters
    ----------
    judge
        The classifier.
    begin
        Returns what encodes findings, given the first of them (perhaps none); see ``writers.Format``.
    explained
        As in ``Classifier.classify``.

    """

    def __init__(self, judge: Judge, begin: Callable[[list[Finding]], Encode], explained: bool = False) -> None:
        self._judge = judge
        self._begin = begin
        self._explained = explained
        self.encode: Encode | None = None

    def parts(self, replies: Iterable[Reply]) -> Iterator[Part]:
        """Yield the encoded verdicts on replies."""
        stream = iter(replies)
        while some := list(islice(stream, _AT_ONCE)):
            found = [self._judge.find(reply, self._explained) for reply in some]
            if self.encode is None:
                self.encode = self._begin(found)
            yield Part(self.encode(found), len(found), tuple(reply.error for reply in some if reply.error is not None))

    def answers(self, entries: Iterable[Entry]) -> Iterator[Answer]:
        """Yield each entry with the parts that answer it; take these before the next entry."""
        for entry in entries:
            yield entry, self.parts(entry.replies)
        if self.encode is None:
            self.encode = self._begin([])


# --- in several processes ---------------------------------------------------------------------------------------


class Crew:
    """Does what a ``Worker`` does, in several processes.

    Parameters
    ----------
    here
        The worker of this process: it answers the first entry, which tells how verdicts are encoded.
    load
        Makes the classifier of another process; it can be pickled.
    jobs
        How many processes.

    """

    def __init__(self, here: Worker, load: Callable[[], Judge], jobs: int, explained: bool = False) -> None:
        self._here = here
        self._load = load
        self._jobs = jobs
        self._explained = explained

    def answers(self, entries: Iterable[Entry]) -> Iterator[Answer]:
        """Yield each entry with the parts that answer it, in their order.

        Raises
        ------
        BouncemlError
            Where one of the processes ended before its time.

        """
        from concurrent.futures import Future, ProcessPoolExecutor
        from concurrent.futures.process import BrokenProcessPool

        stream = iter(entries)
        for entry in stream:
            yield entry, self._here.parts(entry.replies)
            if self._here.encode:
                break
        else:
            yield from self._here.answers(())
            return
        pool = ProcessPoolExecutor(self._jobs, initializer=_start, initargs=(self._load, self._here.encode, self._explained))
        waiting: deque[tuple[list[Entry], Future[list[list[Part]]]]] = deque()
        try:
            for task in _tasks(stream):
                waiting.append((task, pool.submit(_work, [(entry.read, entry.items, entry.first) for entry in task])))
                while len(waiting) > _AHEAD * self._jobs or (waiting and idle(task[-1].pipe)):
                    done, answer = waiting.popleft()
                    yield from zip(done, answer.result(), strict=True)
            for done, answer in waiting:
                yield from zip(done, answer.result(), strict=True)
        except BrokenProcessPool:
            raise BouncemlError("a process ended before its time (too little memory?); run the same again, with fewer --jobs") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _tasks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Group entries, so that the way to another process is short beside the work there."""
    task: list[Entry] = []
    size = 0
    for entry in entries:
        task.append(entry)
        size += sum(map(sys.getsizeof, entry.items))
        if size >= _TASK or len(task) >= _MOST or idle(entry.pipe):
            yield task
            task, size = [], 0
    if task:
        yield task


_worker: Worker | None = None  # that of this process, where it is one of a crew


def _start(load: Callable[[], Judge], encode: Encode, explained: bool) -> None:
    import signal

    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that writes
    process.end_with_parent()
    process.for_many()
    _worker = Worker(load(), lambda first: encode, explained)


def _work(task: Sequence[tuple[Read | None, Sequence[Any], int]]) -> list[list[Part]]:
    assert _worker is not None
    return [list(_worker.parts(read(items, first))) if read else [] for read, items, first in task]
