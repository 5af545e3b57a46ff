"""The inputs that a user names, one after the other, as one stream of replies."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence

from bounceml import parsing
from bounceml.values import Reply

_HEAD = 4096


def _exists(argument: str) -> bool:
    try:
        return os.path.lexists(argument)
    except (OSError, ValueError):  # too long for a name, or with a NUL byte: a text
        return False


def _file(path: str, form: str, column: str | None) -> Iterator[Reply]:
    try:
        with open(path, "rb") as file:
            chosen = parsing.recognise(file.peek(_HEAD)[:_HEAD], path) if form == "auto" else form
            yield from parsing.read(file, chosen, path, column)
    except IsADirectoryError:
        yield Reply("", source=path, error=f"{path}: is a folder; name the files in it")
    except OSError as error:
        yield Reply("", source=path, error=f"{path}: cannot be read ({error.strerror}); check the name and its permissions")


def _standard_input(form: str, column: str | None) -> Iterator[Reply]:
    file = sys.stdin.buffer
    head = file.peek(_HEAD)[:_HEAD] if isinstance(file, io.BufferedReader) else b""
    yield from parsing.read(file, parsing.recognise(head) if form == "auto" else form, None, column)


def _text(argument: str, form: str, column: str | None) -> Iterator[Reply]:
    raw = argument.encode("utf-8", "surrogateescape")
    chosen = parsing.recognise(raw[:_HEAD]) if form == "auto" else form
    if chosen == "reply":
        yield Reply(argument)
    else:
        yield from parsing.read(io.BytesIO(raw), chosen, None, column)


def replies(arguments: Sequence[str], form: str = "auto", column: str | None = None) -> Iterator[Reply]:
    """Yield the replies of all inputs, in the order they are named.

    Parameters
    ----------
    arguments
        What the user named: an argument that exists on disk is read, ``-`` is standard input, anything else is taken
        as the text itself. Where nothing is named, standard input is read.
    form
        ``auto``, or a key of ``parsing.READERS``.
    column
        The column or field that holds the reply, for tables.

    """
    for argument in arguments or ["-"]:
        if argument == "-":
            yield from _standard_input(form, column)
        elif _exists(argument):
            yield from _file(argument, form, column)
        else:
            yield from _text(argument, form, column)
