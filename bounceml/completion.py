"""The Tab key: what a shell needs to complete the commands and options of ``bounceml``, made from the parser itself by shtab."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import shtab

SHELLS = ("bash", "zsh", "fish")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script that completes a parser's commands, options, choices, files and folders.

    Parameters
    ----------
    parser
        The parser; each of its arguments that names a file or folder by its metavar is told to be one.
    shell
        One of ``SHELLS``.

    """
    for action in _actions(parser):
        named = str(action.metavar)
        if named == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # shtab's own way to be told
        elif named == "FILE" or "PATH" in named:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
