"""Words marked in a text: in colour for a terminal, in braces for a file or a pipe; the stronger, the more."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import groupby
from typing import TextIO

from bounceml.values import Mark

# From weak to strong; ECMA-48, select graphic rendition: 33 yellow, 1 bold, 7 reverse.
_COLOURS = ("\x1b[33m", "\x1b[1;33m", "\x1b[1;7;33m")
_PLAIN = "\x1b[0m"
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")  # a reply must not speak to the terminal


def in_colour(out: TextIO) -> bool:
    """Say whether colours may be written: to a terminal that has them, and to a user who has not said no (no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def marked(words: str, marks: Iterable[Mark], colour: bool) -> str:
    """Return a text as one line, with its marks.

    >>> marked("552 mailbox full", [Mark(4, 11, 0.5), Mark(12, 16, 1.0)], colour=False)
    '552 {{mailbox}} {{{full}}}'
    """
    levels = [0] * len(words)
    for start, end, strength in marks:
        level = 1 + (strength > 1 / 3) + (strength > 2 / 3)
        levels[start:end] = [max(level, before) for before in levels[start:end]]
    parts = []
    for level, run in groupby(range(len(words)), levels.__getitem__):
        part = _CONTROL.sub("", "".join(words[place] for place in run))
        if level and part:
            part = f"{_COLOURS[level - 1]}{part}{_PLAIN}" if colour else f"{'{' * level}{part}{'}' * level}"
        parts.append(part)
    return " ".join("".join(parts).split())
