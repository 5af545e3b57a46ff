"""The manual page, from the parser of the command line: ``python docs/manpage.py > docs/bounceml.1``; a test fails where that is old.

Macros: groff_man(7). The package argparse-manpage was tried: it sets usage and examples of a command as running text.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from bounceml.cli import _parser
from bounceml.web.events import services

_ENVIRONMENT = {
    "BOUNCEML_TOKEN": "what a client of serve has to show",
    "BOUNCEML_IMAP_PASSWORD": "the password of an imap:// mailbox; without it, ~/.netrc is asked",
    "NO_COLOR": "no colours on a terminal",
} | {
    name: f"lets serve check that webhooks come from {service.name}; see docs/serve.md"
    for service in services()
    for name in service.settings
}
_STATUS = {
    "0": "all inputs were read",
    "2": "wrong usage, data or model",
    "3": "some inputs could not be read; each has its own row with error",
}


def _plain(text: str) -> str:
    """Text that holds no command of groff."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in text.split("\n"))


def _value(action: argparse.Action) -> str:
    """What stands behind an option; a list of choices may be broken behind each bar."""
    if action.nargs == 0:
        return ""
    if action.metavar or not action.choices:
        return f"\\fI{_plain(str(action.metavar or action.dest.upper()))}\\fR"
    return "|\\:".join(f"\\fB{_plain(str(choice))}\\fR" for choice in action.choices)


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    formatter = parser._get_formatter()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
            continue
        named = ", ".join(f"\\fB{_plain(name)}\\fR" for name in action.option_strings)
        yield f".TP\n{' '.join(filter(None, (named, _value(action))))}\n{_plain(formatter._expand_help(action))}"


def _list(rows: dict[str, str]) -> Iterator[str]:
    for name, told in rows.items():
        yield f".TP\n\\fB{_plain(name)}\\fR\n{_plain(told)}"


def _command(name: str, parser: argparse.ArgumentParser, summary: str) -> Iterator[str]:
    yield f".SS bounceml {name}\n{_plain(parser.description or summary)}"
    yield from _arguments(parser)
    if parser.epilog:
        lines = parser.epilog.partition(":")[2].strip("\n").split("\n")
        yield ".PP\nExamples:\n.PP\n.nf\n.RS\n" + "\n".join(_plain(line.strip()) for line in lines) + "\n.RE\n.fi"


def page() -> str:
    """Return the manual page."""
    parser = _parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    summaries = {action.dest: str(action.help) for action in commands._choices_actions}
    parts = [
        '.TH BOUNCEML 1 "" bounceml "User Commands"',
        ".ad l\n.nh\n.SH NAME\nbounceml \\- why a mail bounced, and what should happen next",
        ".SH SYNOPSIS",
        *(f".B bounceml {name}\n[\\fIoptions\\fR] ...\n.br" for name in summaries),
        f".SH DESCRIPTION\n{_plain(str(parser.description))}\nEach command tells its own options with \\fB\\-\\-help\\fR.",
        *_arguments(parser),
        ".SH COMMANDS",
        *(part for name, summary in summaries.items() for part in _command(name, commands.choices[name], summary)),
        ".SH ENVIRONMENT",
        *_list(_ENVIRONMENT),
        ".SH EXIT STATUS",
        *_list(_STATUS),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page(), end="")
