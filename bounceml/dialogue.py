"""A review in the terminal: a question with its guesses, an answer in a few keys."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TextIO

from bounceml import labelled, tables, text
from bounceml.errors import DataError
from bounceml.review import Question, category_of

_WORDS = {
    "en": {
        "times": "{number} of {of} · {count:,} {replies} · {source}",
        "reply": "reply",
        "replies": "replies",
        "wording": "wording",
        "example": "example",
        "prompt": "category (1-{guesses}, id or its beginning, s skip, q quit, ? list): ",
    },
    "zh": {
        "times": "第 {number} 条，共 {of} 条 · 出现 {count:,} 次 · {source}",
        "reply": "",
        "replies": "",
        "wording": "模板",
        "example": "例子",
        "prompt": "类别（1-{guesses}、类别 ID 或其开头，s 跳过，q 退出，? 列出类别）：",
    },
}


def _asked(question: Question, number: int, of: int, lang: str) -> str:
    words, categories = _WORDS[lang], tables.taxonomy().categories
    replies = words["reply" if question.times == 1 else "replies"]
    lines = ["", words["times"].format(number=number, of=of, count=question.times, replies=replies, source=question.source)]
    lines.append(f"  {words['wording']}: {question.wording}")
    lines.append(f"  {words['example']}: {question.example}")
    for place, guess in enumerate(question.guesses, 1):
        lines.append(f"  {place}  {guess.probability:>4.0%}  {guess.category:<26}{categories[guess.category].name[lang]}")
    return "".join(f"{text.visible(line)}\n" for line in lines)


def _list(lang: str) -> str:
    return "".join(f"  {category.id:<26}{category.name[lang]}\n" for category in tables.taxonomy().categories.values())


def complete_ids() -> None:
    """Have the Tab key complete ids, where Python has readline."""
    try:
        import readline
    except ImportError:
        return

    def completion(begun: str, number: int) -> str | None:
        return dict(enumerate(category for category in tables.taxonomy().categories if category.startswith(begun))).get(number)

    readline.set_completer(completion)
    readline.parse_and_bind("bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete")


def answers(questions: Sequence[Question], ask: Callable[[str], str], out: TextIO, lang: str) -> Iterator[tuple[Question, str]]:
    """Ask one question after the other; yield each that is answered, with its category, before the next is asked.

    Parameters
    ----------
    questions
        In the order in which they are asked.
    ask
        Shows a prompt and returns the line that is typed; EOFError ends the dialogue.
    out
        Where questions are shown.
    lang
        ``en`` or ``zh``.

    """
    for number, question in enumerate(questions, 1):
        out.write(_asked(question, number, len(questions), lang))
        prompt = _WORDS[lang]["prompt"].format(guesses=len(question.guesses))
        while True:
            try:
                answer = ask(prompt).strip()
            except EOFError:
                out.write("\n")
                return
            if answer == "q":
                return
            if answer == "s":
                break
            if answer == "?":
                out.write(_list(lang))
            elif answer:
                try:
                    category = category_of(answer, question.guesses)
                except DataError as error:
                    out.write(f"  {error}\n")
                else:
                    out.write(f"  {category}\n")
                    yield question, category
                    break


def hold(questions: Sequence[Question], add_to: Path, lang: str, today: date) -> int:
    """Ask in the terminal, append each answer at once to a file of labelled replies, and return how many there were.

    Raises
    ------
    UsageError
        Where the file cannot be written.

    """
    complete_ids()
    added = 0
    for question, category in answers(questions, input, sys.stdout, lang):
        labelled.add(add_to, question.row(category, today))
        added += 1
    return added
