"""Words marked in a text: in colour for a terminal, in braces for a file or a pipe, in parts for a page; the stronger, the more."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple, TextIO

from bounceml.values import Mark

# From weak to strong; ECMA-48, select graphic rendition: 33 yellow, 1 bold, 7 reverse.
_COLOURS = ("\x1b[33m", "\x1b[1;33m", "\x1b[1;7;33m")
_PLAIN = "\x1b[0m"
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")  # a reply must not speak to the terminal


def in_colour(out: TextIO) -> bool:
    """Say whether colours may be written: to a terminal that has them, and to a user who has not said no (no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Part(NamedTuple):
    """Some of a text, and how strongly it is marked: from 0, not at all, to 3."""

    text: str
    level: int


def parts(words: str, marks: Iterable[Mark]) -> Iterator[Part]:
    """Yield a text in parts that are marked alike.

    >>> [tuple(part) for part in parts("552 mailbox full", [Mark(4, 11, 0.5), Mark(12, 16, 1.0)])]
    [('552 ', 0), ('mailbox', 2), (' ', 0), ('full', 3)]
    """
    levels = [0] * len(words)
    for start, end, strength in marks:
        level = 1 + (strength > 1 / 3) + (strength > 2 / 3)
        levels[start:end] = [max(level, before) for before in levels[start:end]]
    for level, run in groupby(range(len(words)), levels.__getitem__):
        yield Part("".join(words[place] for place in run), level)


def marked(words: str, marks: Iterable[Mark], colour: bool) -> str:
    """Return a text as one line, with its marks.

    >>> marked("552 mailbox full", [Mark(4, 11, 0.5), Mark(12, 16, 1.0)], colour=False)
    '552 {{mailbox}} {{{full}}}'
    """
    told = []
    for text, level in parts(words, marks):
        part = _CONTROL.sub("", text)
        if level and part:
            part = f"{_COLOURS[level - 1]}{part}{_PLAIN}" if colour else f"{'{' * level}{part}{'}' * level}"
        told.append(part)
    return " ".join("".join(told).split())
