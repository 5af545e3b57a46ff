"""Arguments in, one library call, exit code out; nothing here that one could want to import.

A command is a function that takes the parsed arguments and returns the exit code; it imports what it needs itself, so
that `bounceml --help` and `bounceml predict` start fast. To add one: write the function, and
what adds its parser, and name that in ``_COMMANDS``.

Exit codes: 0 all read; 2 wrong usage, data or model; 3 some inputs could not be read (each has its own row with `error`), or
a mailbox was lost on the way.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from bounceml import __version__
from bounceml.errors import BouncemlError, InputError, UsageError

if TYPE_CHECKING:
    from bounceml.work import Part

_Item = TypeVar("_Item")
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_FORMATS = (
    *(
        "auto",
        "reply",
        "eml",
        "mbox",
        "maildir",
        "csv",
        "jsonl",
        "parquet",
        "postfix",
        "exim",
        "sendmail",
        "opensmtpd",
        "qmail",
        "powermta",
    ),
    *("events", "kumomta", "halon", "ses", "sendgrid", "mailgun", "postmark", "sparkpost", "mandrill", "tencent", "aliyun"),
)
_OUTPUTS = ("text", "jsonl", "csv", "parquet", "suppression")
_LANGUAGES = ("en", "zh")
_AUDIENCES = ("sender", "admin", "recipient")
_SCHEMES = (
    *("powermta", "kumomta", "sparkpost", "ses", "sendgrid", "mailgun", "postmark"),
    *("anymail", "sisimai", "postalsys", "zonemta", "rfc3463", "hard-soft"),
)
_KINDS = {"hard": "hard", "soft": "soft", "block": "blocked", "unknown": "unknown"}  # of failures, in a report

_TO = (
    "how to write the verdicts (default: %(default)s); suppression: a CSV of the dead addresses, complete at the end, "
    "so a run that is killed leaves the list that was there before, and the same command starts over"
)

_ENGINE = (
    "who does the work (default: %(default)s); spark: a cluster, from folders or files of Parquet, CSV or JSON lines to a folder of "
    "one of these, see docs/spark.md"
)

_POLICY = "your own actions, and what to suppress for how long: TOML of the form of bounceml/tables/policy.toml"
_RULES = "your own rules, asked before the model: TOML of the form of bounceml/tables/rules.toml; a rule's label becomes user_label"

_EXAMPLES = """examples:
  bounceml predict "552 5.2.2 mailbox full"
  bounceml predict --lang zh "550 MI:SPF mx.example.com"
  bounceml predict bounce.eml --to jsonl
  bounceml predict Maildir archive.mbox.gz --to jsonl -o verdicts.jsonl
  bounceml predict imaps://joe@mail.example.com/Bounces --imap-done move:Done --to jsonl -o verdicts.jsonl
  bounceml predict replies.csv --column diagnostic --to csv -o verdicts.csv
  bounceml predict bounces.parquet --column diagnostic --to parquet -o verdicts.parquet
  bounceml predict mail.log bounces.mbox --to suppression -o suppression.csv
  bounceml predict mail.log --policy policy.toml --to suppression -o suppression.csv
  bounceml predict bounces.mbox --rules rules.toml --to csv -o verdicts.csv
  bounceml predict bounces.mbox --scheme sparkpost --to csv -o verdicts.csv
  bounceml predict bounce.eml --audience admin
  bounceml predict mail.log.gz --jobs 4 --to jsonl -o verdicts.jsonl
  bounceml predict --engine spark bounces/ --column diagnostic --to parquet -o verdicts
  journalctl -u app | bounceml predict --to jsonl -
"""


_REVIEW_EXAMPLES = """examples:
  bounceml review /var/log/mail.log* --add-to mine.jsonl
  bounceml review bounces.mbox --to csv -o fill.csv
  bounceml review --from fill.csv --add-to mine.jsonl
"""


_SERVE_EXAMPLES = """examples:
  bounceml serve
  bounceml serve --workers 2 --model models/mine --add-to mine.jsonl
  BOUNCEML_TOKEN=$(openssl rand -hex 16) bounceml serve --host 0.0.0.0 --name bounces.example.com
  curl http://127.0.0.1:8025/v1/classify --json '{"text": "552 5.2.2 mailbox full"}'
  curl http://127.0.0.1:8025/v1/classify -H 'Content-Type: text/plain' --data-binary @mail.log
  curl http://127.0.0.1:8025/v1/classify -F file=@bounce.eml -F file=@archive.mbox.gz
  curl -X POST http://127.0.0.1:8025/v1/reload
"""


_COMPLETION_EXAMPLES = """examples:
  bounceml completion bash > ~/.local/share/bash-completion/completions/bounceml
  bounceml completion zsh > ~/.zfunc/_bounceml
  bounceml completion fish > ~/.config/fish/completions/bounceml.fish
"""


def _probability(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not a probability; give a number from 0 to 1")
    return value


def _count(text: str) -> int:
    """A number of processes."""
    if text.isdecimal():
        return int(text) or os.cpu_count() or 1
    raise argparse.ArgumentTypeError(f"{text!r} is no number of processes; give one from 1, or 0 for as many as there are cores")


def _size(text: str) -> int:
    """A number of bytes, or with K, M or G behind it."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in ("K", "M", "G") else (text, "")
    if number.isdecimal() and int(number):
        return int(number) << {"": 0, "K": 10, "M": 20, "G": 30}[unit]
    raise argparse.ArgumentTypeError(f"{text!r} is no size; give a number of bytes, such as 500000 or 32M")


def _count_of_requests(text: str) -> int:
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of requests; give one from 1, or 0 for any number")


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 2**16:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number up to 65535, or 0 for any free one")


def _imap_done(text: str) -> str:
    how, _, folder = text.partition(":")
    if text == "seen" or (how == "move" and folder):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is neither 'seen' nor 'move:FOLDER'")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal. Argparse makes one for every option, and without a width it imports shutil for it, 2 ms."""

    def __init__(self, prog: str) -> None:
        try:
            columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
        except (ValueError, OSError):
            columns = 80
        super().__init__(prog, width=columns - 2)


def _add_inputs(parser: argparse.ArgumentParser, metavar: str, what: str) -> None:
    parser.add_argument("inputs", nargs="*", metavar=metavar, help=what)
    parser.add_argument(
        "--format", choices=_FORMATS, default="auto", help="what the inputs are (default: recognised from name and content)"
    )
    parser.add_argument("--column", metavar="NAME", help="column or field of a table that holds the reply")
    parser.add_argument("--model", type=Path, metavar="DIR", help="model folder (default: the one that ships with bounceml)")


def _add_own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", type=Path, metavar="FILE", help=_POLICY)
    parser.add_argument("--rules", type=Path, metavar="FILE", help=_RULES)


def _add_predict(commands: _Commands) -> None:
    command = commands.add_parser(
        "predict",
        help="say why mails bounced",
        description="Say why mails bounced. An argument that names something on disk is read; anything else is taken as the text itself.",
        epilog=_EXAMPLES,
        formatter_class=_Help,
    )
    _add_inputs(command, "TEXT | PATH | imap://", "a reply, a file, a folder or a mailbox; - or nothing: standard input")
    command.add_argument("--to", choices=_OUTPUTS, default="text", help=_TO)
    command.add_argument("-o", "--output", metavar="FILE", help="write here instead of standard output")
    command.add_argument(
        "--imap-done",
        type=_imap_done,
        metavar="seen|move:FOLDER",
        help="flag or move each mail of a mailbox once its verdicts are safe in -o",
    )
    command.add_argument("--lang", choices=_LANGUAGES, default="en", help="language of cause and remedy (default: %(default)s)")
    command.add_argument(
        "--audience",
        choices=_AUDIENCES,
        default="sender",
        help="who reads cause and remedy; admin: the mail admin of the sending side (default: %(default)s)",
    )
    command.add_argument(
        "--scheme",
        choices=_SCHEMES,
        metavar="NAME",
        help=f"add the label that another tool would use, as scheme_label: {', '.join(_SCHEMES)}",
    )
    command.add_argument("--explain", action="store_true", help="mark the words that decided, and tell their weights")
    command.add_argument(
        "--threshold", type=_probability, metavar="P", help="let the model decide from this probability on (default: measured)"
    )
    command.add_argument("--jobs", type=_count, default=1, metavar="N", help="processes that judge (default: %(default)s; all cores: 0)")
    command.add_argument("--engine", choices=("here", "spark"), default="here", help=_ENGINE)
    _add_own(command)
    command.set_defaults(run=_predict)


def _add_report(commands: _Commands) -> None:
    command = commands.add_parser(
        "report",
        help="one page on what bounced, when, where and why",
        description="Write one page on what bounced, when, where, why and what to do about it, from any input that predict reads. "
        "The same figures stand beside it as JSON and CSV; the next report of that name tells what is new since.",
        epilog="examples:\n  bounceml report /var/log/mail.log* -o report.html\n  bounceml report ~/Maildir -o bounces.html --lang zh",
        formatter_class=_Help,
    )
    _add_inputs(command, "LOG | PATH", "a log, a mail, a table, a folder; - or nothing: standard input")
    command.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="the page, such as report.html")
    command.add_argument("--lang", choices=_LANGUAGES, default="en", help="language of the page (default: %(default)s)")
    command.add_argument("--addresses", action="store_true", help="show recipients in full (default: j…@example.com)")
    _add_own(command)
    command.set_defaults(run=_report)


def _add_review(commands: _Commands) -> None:
    command = commands.add_parser(
        "review",
        help="label what the model is unsure of",
        description="Show the wordings that the model is unsure of, the most frequent first, and ask for their category. "
        "Each answer is appended to a file of labelled replies, which `bounceml train --add` learns from.",
        epilog=_REVIEW_EXAMPLES,
        formatter_class=_Help,
    )
    _add_inputs(command, "LOG | PATH", "a log, a mail, a table, a folder; - or nothing: standard input")
    command.add_argument(
        "--add-to", type=Path, default=Path("mine.jsonl"), metavar="FILE", help="file of your labelled replies (default: %(default)s)"
    )
    command.add_argument("--to", choices=("csv",), help="write the questions as a table to fill in, and ask nothing")
    command.add_argument("-o", "--output", metavar="FILE", type=Path, help="write the table here instead of standard output")
    command.add_argument("--from", dest="filled", metavar="FILE", type=Path, help="take the answers of a table that was filled in")
    command.add_argument(
        "--below", type=_probability, metavar="P", help="ask about verdicts less probable than this (default: 0.8, and whatever is unknown)"
    )
    command.add_argument("--lang", choices=_LANGUAGES, default="en", help="language of the dialogue (default: %(default)s)")
    command.set_defaults(run=_review)


def _add_train(commands: _Commands) -> None:
    command = commands.add_parser(
        "train",
        formatter_class=_Help,
        help="train a model from labelled replies",
        epilog="example: bounceml train --out models/mine --add mine.jsonl",
    )
    command.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="data folder (default: %(default)s)")
    command.add_argument("--add", type=Path, action="append", default=[], metavar="FILE", help="a further JSONL file of labelled replies")
    command.add_argument(
        "--out", type=Path, default=Path("models/default"), metavar="DIR", help="model folder to write (default: %(default)s)"
    )
    command.add_argument("--seed", type=int, metavar="N", help="seed (default: the one in train.toml)")
    command.set_defaults(run=_train)


def _add_evaluate(commands: _Commands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="report how good the verdicts are",
        description="With FILE: judge its labelled replies with a model. Without: cross-validation by groups over the data folder.",
        epilog="examples:\n  bounceml evaluate --out reports\n  bounceml evaluate mine.jsonl --model models/mine",
        formatter_class=_Help,
    )
    command.add_argument("file", type=Path, nargs="?", metavar="FILE", help="JSONL file of labelled replies (see data/README.md)")
    command.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR", help="data folder for cross-validation (default: %(default)s)"
    )
    command.add_argument("--model", type=Path, metavar="DIR", help="model folder to judge FILE with (default: the one that ships)")
    command.add_argument("--out", type=Path, metavar="DIR", help="also write report.json, report.md and report.html here")
    command.add_argument("--json", action="store_true", help="print the report as JSON")
    command.set_defaults(run=_evaluate)


def _add_serve(commands: _Commands) -> None:
    command = commands.add_parser(
        "serve",
        formatter_class=_Help,
        help="a page and an HTTP interface",
        description="Serve a page to paste bounces into, and an HTTP interface for programs, described at /openapi.json. "
        "Nothing that is sent is stored. A token that everyone has to show is read from the environment variable BOUNCEML_TOKEN.",
        epilog=_SERVE_EXAMPLES,
    )
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine alone)")
    command.add_argument("--port", type=_port, default=8025, help="port to listen on (default: %(default)s; any free one: 0)")
    command.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="a host name that it is called by, such as that of a reverse proxy; others but localhost are refused then",
    )
    command.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="processes that answer (default: %(default)s; all cores: 0)"
    )
    command.add_argument("--model", type=Path, metavar="DIR", help="model folder (default: the one that ships with bounceml)")
    _add_own(command)
    command.add_argument("--add-to", type=Path, metavar="FILE", help="take corrections, and append them to this file of labelled replies")
    command.add_argument("--token-file", type=Path, metavar="FILE", help="file that holds the token, in place of BOUNCEML_TOKEN")
    command.add_argument("--max-bytes", type=_size, default=32 << 20, metavar="SIZE", help="largest body of a request (default: 32M)")
    command.add_argument(
        "--rate",
        type=_count_of_requests,
        default=100,
        metavar="N",
        help="requests a second that a process takes from one client that is not on this machine (default: %(default)s; any number: 0)",
    )
    command.set_defaults(run=_serve)


def _add_completion(commands: _Commands) -> None:
    command = commands.add_parser(
        "completion",
        formatter_class=_Help,
        help="what a shell needs to complete commands and options",
        epilog=_COMPLETION_EXAMPLES,
    )
    command.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell to complete in")
    command.set_defaults(run=_completion)


def _add_taxonomy(commands: _Commands) -> None:
    command = commands.add_parser(
        "taxonomy", formatter_class=_Help, help="list the categories", epilog="example: bounceml taxonomy --lang zh"
    )
    command.add_argument("--lang", choices=_LANGUAGES, default="en", help="language of the names (default: %(default)s)")
    command.set_defaults(run=_taxonomy)


_COMMANDS: dict[str, Callable[[_Commands], None]] = {
    "predict": _add_predict,
    "report": _add_report,
    "review": _add_review,
    "train": _add_train,
    "evaluate": _add_evaluate,
    "serve": _add_serve,
    "completion": _add_completion,
    "taxonomy": _add_taxonomy,
}


def _parser(asked: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; of one alone where that is asked for, as making the others takes 2 ms."""
    parser = argparse.ArgumentParser(
        prog="bounceml", description="Why did this mail bounce, and what should happen next?", formatter_class=_Help
    )
    parser.add_argument("--version", action="version", version=f"bounceml {__version__}")
    commands = parser.add_subparsers(prog="bounceml", required=True, metavar="COMMAND")
    for name in [asked] if asked in _COMMANDS else _COMMANDS:
        _COMMANDS[name](commands)
    return parser


def _with_progress(items: Iterable[_Item], unit: str, count: Callable[[_Item], int] = lambda item: 1) -> Iterator[_Item]:
    """Count what passes on standard error, where someone is watching."""
    if not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    with tqdm(unit=f" {unit}", delay=1.0, file=sys.stderr) as bar:
        for item in items:
            yield item
            bar.update(count(item))


def _tell(message: str) -> None:
    print(f"bounceml: {message}", file=sys.stderr)


def _predict(arguments: argparse.Namespace) -> int:
    from bounceml import process

    process.for_many()
    from bounceml import output, stream, work
    from bounceml.classifier import Classifier
    from bounceml.writers import format_of

    if arguments.engine == "spark":
        return _predict_on_spark(arguments)
    path = Path(arguments.output) if arguments.output else None
    if arguments.to == "parquet" and path is None:
        raise UsageError("Parquet is no text for a terminal or a pipe; name a file with -o")
    load = partial(
        Classifier.load,
        arguments.model,
        arguments.lang,
        arguments.threshold,
        arguments.scheme,
        arguments.audience,
        policy=arguments.policy,
        rules=arguments.rules,
    )
    classifier, form = load(), format_of(arguments.to)
    run = output.run_of(vars(arguments))
    with output.opened(path, run, settles=bool(arguments.imap_done), say=_tell) as out:
        entries = stream.entries(
            arguments.inputs,
            arguments.format,
            arguments.column,
            say=_tell,
            answered=out.answered,
            ours=output.names(path),
            imap_done=arguments.imap_done,
        )
        worker = work.Worker(classifier, lambda first: form.begin(first, out.file), arguments.explain)
        many = arguments.jobs > 1 and not stream.names_mailbox(arguments.inputs)  # a mailbox is read and settled in one process
        crew = work.Crew(worker, load, arguments.jobs, arguments.explain) if many else worker
        parts = _with_progress(out.parts(entries, crew.answers), "verdicts", lambda part: part.rows)
        form.write(_encoded(parts), out.file, arguments.lang)
    return 3 if out.unread else 0


def _predict_on_spark(arguments: argparse.Namespace) -> int:
    from bounceml import spark, stream

    elsewhere = {
        "standard input": not arguments.inputs or "-" in arguments.inputs,
        "a mailbox": stream.names_mailbox(arguments.inputs),
        f"--format {arguments.format}": arguments.format not in ("auto", *spark.FORMATS),
        f"--to {arguments.to}": arguments.to not in spark.FORMATS,
        "--imap-done": arguments.imap_done,
        "--explain": arguments.explain,
        "--jobs": arguments.jobs != 1,
    }
    if refused := [what for what, given in elsewhere.items() if given]:
        raise UsageError(f"{refused[0]} is nothing for --engine spark, which reads and writes folders of {', '.join(spark.FORMATS)}")
    if not arguments.output:
        raise UsageError("Spark writes a folder; name it with -o")
    asked = ("model", "lang", "threshold", "scheme", "audience", "policy", "rules")
    options = {name: getattr(arguments, name) for name in asked}
    unread = spark.predict(arguments.inputs, arguments.format, arguments.column, arguments.to, arguments.output, **options)
    if unread:
        _tell(f"{unread:,} replies could not be read; their rows say why, in the column error")
    return 3 if unread else 0


def _encoded(parts: Iterable[Part]) -> Iterator[Any]:
    for part in parts:
        for error in part.errors:
            _tell(error)
        yield part.encoded


def _report(arguments: argparse.Namespace) -> int:
    from bounceml import process, report
    from bounceml.classifier import Classifier

    process.for_many()
    found = report.write(
        arguments.inputs,
        arguments.output,
        Classifier.load(arguments.model, arguments.lang, policy=arguments.policy, rules=arguments.rules),
        form=arguments.format,
        column=arguments.column,
        addresses=arguments.addresses,
        say=_tell,
        watch=partial(_with_progress, unit="replies"),
    )
    totals = found["totals"]
    new = sum(bool(row["new"]) for row in found["templates"]["rows"])
    kinds = ", ".join(f"{totals[kind]:,} {name}" for kind, name in _KINDS.items())
    print(
        f"{arguments.output}: {totals['failed']:,} of {totals['read']:,} results failed ({kinds}){f'; {new:,} new wordings' if new else ''}"
    )
    if totals["unread"]:
        _tell(f"{totals['unread']:,} inputs could not be read; the page says which")
    return 3 if totals["unread"] else 0


def _review(arguments: argparse.Namespace) -> int:
    from datetime import date

    from bounceml import dialogue, fill, labelled, process, review, stream
    from bounceml.classifier import Classifier

    if arguments.filled:
        if arguments.inputs or arguments.to:
            raise UsageError("--from takes the answers of a table; logs and --to belong to the run that writes it")
        added, again = fill.take_over(arguments.filled, arguments.add_to, date.today())
        print(f"{added:,} wordings labelled, in {arguments.add_to}" + (f"; {again:,} were there already" if again else ""))
        return 0
    if arguments.output and not arguments.to:
        raise UsageError("-o is for a table to fill in; add --to csv")
    if not arguments.to:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError("a review asks in a terminal; without one, write a table to fill in: --to csv -o fill.csv")
        if not arguments.inputs or "-" in arguments.inputs:
            raise UsageError("a review asks on standard input; name the log as a file, or write a table: --to csv -o fill.csv")
    own = labelled.read_file(arguments.add_to) if arguments.add_to.exists() else []
    process.for_many()
    found = review.Wordings(Classifier.load(arguments.model), own, review.SURE if arguments.below is None else arguments.below)
    ours = {os.path.realpath(path) for path in (arguments.add_to, arguments.output) if path}
    entries = stream.entries(arguments.inputs, arguments.format, arguments.column, say=_tell, ours=ours)
    unread = 0
    for reply in _with_progress((reply for entry in entries for reply in entry.replies), "replies"):
        if error := found.add(reply):
            _tell(error)
            unread += 1
    if found.known:
        _tell(f"{found.known:,} replies in doubt are worded like one in {arguments.add_to}, and not asked about again")
    questions = found.questions()
    if not questions:
        _tell("nothing to ask: no verdict is in doubt")
    elif not arguments.to:
        added = dialogue.hold(questions, arguments.add_to, arguments.lang, date.today())
        print(f"{added:,} of {len(questions):,} wordings labelled, in {arguments.add_to}")
    elif arguments.output:
        fill.write_file(questions, arguments.output)
        print(
            f"{arguments.output}: {len(questions):,} wordings; fill in the column category, then: bounceml review --from {arguments.output}"
        )
    else:
        fill.write(questions, sys.stdout)
    return 3 if unread else 0


def _say(step: str) -> None:
    if sys.stderr.isatty():
        print(f"… {step}", file=sys.stderr)


def _need_learning() -> None:
    try:
        import sklearn  # noqa: F401  (only to see whether it is there)
    except ImportError:
        raise UsageError("training and evaluation need scikit-learn; install it with: pip install 'bounceml[train]'") from None


def _train(arguments: argparse.Namespace) -> int:
    _need_learning()
    from bounceml.learning import compare, papers, train

    report = train.train(arguments.data, arguments.out, arguments.add, arguments.seed, _say)
    print(papers.as_text(report))
    for why in compare.worse(report):
        _tell(f"worse than {report['comparison']['model']}: {why}")
    print(f"model written to {arguments.out}")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    _need_learning()
    import json

    from bounceml.learning import papers, train

    if arguments.file:
        report = train.evaluate_file(arguments.file, arguments.model)
    else:
        report = train.cross_validate(arguments.data, arguments.out, _say)
    print(json.dumps(report, ensure_ascii=False) if arguments.json else papers.as_text(report))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for name, content in papers.of_report(report).items():
            (arguments.out / name).write_text(content, encoding="utf-8")
    return 0


def _need_serving() -> None:
    from importlib.util import find_spec

    if not all(map(find_spec, ("cryptography", "fastapi", "prometheus_client", "python_multipart", "uvicorn"))):
        raise UsageError("the service needs FastAPI, uvicorn and more; install them with: pip install 'bounceml[serve]'")


def _token(path: Path | None) -> str | None:
    """The token of a file, or of the environment."""
    if path is None:
        return os.environ.get("BOUNCEML_TOKEN") or None
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the token cannot be read ({error}); check the name and its permissions") from None
    if not token:
        raise UsageError(f"{path}: holds no token; write one into it, such as what `openssl rand -hex 16` prints")
    return token


def _serve(arguments: argparse.Namespace) -> int:
    _need_serving()
    from bounceml.web import run
    from bounceml.web.settings import Settings

    settings = Settings(
        model=arguments.model,
        policy=arguments.policy,
        rules=arguments.rules,
        add_to=arguments.add_to,
        token=_token(arguments.token_file),
        max_bytes=arguments.max_bytes,
        host=arguments.host,
        names=tuple(name.lower() for name in arguments.name),
        rate=arguments.rate,
    )
    if settings.token is None and not settings.on_loopback:
        _tell(f"whoever reaches {arguments.host} can use this service; set BOUNCEML_TOKEN or --token-file to let in who shows a token")

    def say(url: str) -> None:
        print(f"{url} (Ctrl-C ends it)", flush=True)

    run.serve(settings, arguments.port, arguments.workers, say)
    return 0


def _completion(arguments: argparse.Namespace) -> int:
    from bounceml import completion

    print(completion.script(_parser(), arguments.shell))
    return 0


def _taxonomy(arguments: argparse.Namespace) -> int:
    from bounceml import tables

    known = tables.taxonomy()
    for group, name in known.groups.items():
        print(f"{name[arguments.lang]} ({group})")
        for category in known.categories.values():
            if category.group == group:
                print(f"  {category.id:<26}{category.name[arguments.lang]}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = sys.argv[1:] if argv is None else argv
    arguments = _parser(*given[:1]).parse_args(given)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except BouncemlError as error:
        _tell(str(error))
        return 3 if isinstance(error, InputError) else 2
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code
