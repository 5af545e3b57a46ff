"""Which replies are worth a label: those the model is unsure of, as wordings, the most frequent first.

Replies that differ only in what masking does not know (a user's name, a ticket, a time in words) are one wording; drain3
finds them, in one pass and in memory that does not grow with the input.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple

from bounceml import anonymous, decide, language, tables, text
from bounceml.classifier import Classifier
from bounceml.errors import DataError, UsageError
from bounceml.labelled import Example
from bounceml.values import Reply, Score, Verdict

PROVIDER = "own logs"  # of a row that a review adds
GUESSES = 3

# Of 597 replies and log lines of the lab (tests/lab) 63 are judged wrong; asked about below 0.7 are 93 of them, 32 of these wrong; below
# 0.8 119 and 42; below 0.9 200 and 48. The share of known words tells nothing besides: words never seen lower the probability
# already, and of the 167 that have fewer than 80 % known words and a probability of 0.7, 17 are wrong, as many as of all.
SURE = 0.8
# Of the 6,190 real rows of data/examples, each a template of its own, 257 share a wording with another at 0.8 where their codes alone
# make the key, 31 of them with one of another cause; at 0.7 it is 414 and 54. The guess in the key is there to keep those apart.
_ALIKE = 0.8
_LIMIT = 2000  # wordings that are counted apart: 10 MB, or 34 where all are as long as may be; nobody answers so many questions
_LONGEST = 1000  # characters of an example; the longest row of data/examples has 800
_REMEMBERED = 4096  # templates whose guesses are kept, 3 MB: streams repeat a few

_PLACE = re.compile(r"[:#]\d+$")  # the line of a row, the number of a mail


class Question(NamedTuple):
    """A wording to ask about: how often it came, one of its replies, and what the model holds likeliest, best first.

    ``wording`` is the template, ``<*>`` where replies differ; ``example`` is free of what names somebody.
    """

    times: int
    wording: str
    example: str
    guesses: tuple[Score, ...]
    source: str

    @property
    def template(self) -> str:
        """The template of the example, by which it is known whether a file has it."""
        return text.read(Reply(self.example)).template

    def row(self, category: str, today: date) -> dict[str, str]:
        """Return the answer as a row of labelled replies, with the fields that data/README.md asks for."""
        return {
            "text": self.example,
            "category": category,
            "language": language.of(self.template),
            "provider": PROVIDER,
            "source": f"reviewed {today.isoformat()}, {self.source}",
        }


def in_doubt(reply: Reply, verdict: Verdict, below: float = SURE) -> bool:
    """Say whether a verdict should be looked at: no cause is known, or its probability is below ``below``.

    What the input itself reports as no failure needs no label, and codes without words hold nothing to learn.
    """
    if verdict.error or reply.outcome in decide.NO_FAILURE:
        return False
    unsure = verdict.decided_by == "nobody" or verdict.category == decide.UNKNOWN or verdict.confidence < below
    return unsure and text.read(reply).has_words


def example_of(reply: Reply) -> str:
    """Return what a label of this reply would be stored with: one line, without what names somebody.

    A status that only the report gives stands before it, as the model saw it there.
    """
    given, status = text.judged(reply.text), text.read(reply).codes.status
    return (f"{status} " if status and status not in given else "") + anonymous.reply(given[:_LONGEST], reply.recipient)


class Wordings:
    """Takes replies, one after the other, and groups those in doubt.

    ``known`` counts those whose wording has a label already; they are not asked about again.

    Parameters
    ----------
    classifier
        Says what is in doubt, and gives the guesses.
    labelled
        Rows that have a label.
    below
        Probability (0-1) below which a verdict is in doubt.
    limit
        How many wordings are counted apart; the one that was met least recently makes room, and its count begins anew.

    Raises
    ------
    UsageError
        Where drain3 is not installed.

    """

    def __init__(self, classifier: Classifier, labelled: Sequence[Example] = (), below: float = SURE, limit: int = _LIMIT) -> None:
        try:
            from drain3.drain import Drain
        except ImportError:
            raise UsageError("finding wordings needs a package more; install it with: pip install 'bounceml[review]'") from None
        self._classifier = classifier
        self._below = below
        self._limit = limit + len(labelled)
        self._guesses = lru_cache(_REMEMBERED)(self._judged)
        # A depth of 6 is: length, key, first and second word. Numbers are masked where they should be; the others are codes.
        self._drain = Drain(depth=6, sim_th=_ALIKE, max_clusters=self._limit, parametrize_numeric_tokens=False)
        self._found: dict[int, Question] = {}
        self.known = 0
        self._labelled = {self._cluster(row.template, decide.UNKNOWN)[0] for row in labelled}

    def _judged(self, template: str, outcome: str) -> tuple[Score, ...]:
        _, scores = decide.reported(outcome, self._classifier.model.scores(template))
        return tuple(scores[:GUESSES])

    def _cluster(self, template: str, outcome: str) -> tuple[int, tuple[Score, ...], str]:
        """Return the number of the template's wording, the guesses, and the wording itself."""
        guesses = self._guesses(template, outcome)
        cluster, _ = self._drain.add_log_message(f"{_key(template, guesses[0])} {template}")
        return cluster.cluster_id, guesses, cluster.get_template().partition(" ")[2]

    def add(self, reply: Reply) -> str | None:
        """Take a reply; return why it could not be read, where it could not."""
        if reply.error is None and reply.outcome in decide.NO_FAILURE:  # most of a log
            return None
        verdict = self._classifier.classify(reply)
        if in_doubt(reply, verdict, self._below):
            self._count(reply)
        return verdict.error

    def _count(self, reply: Reply) -> None:
        example = example_of(reply)
        number, guesses, wording = self._cluster(text.read(Reply(example)).template, reply.outcome)
        if number in self._labelled:
            self.known += 1
        elif found := self._found.get(number):
            self._found[number] = found._replace(times=found.times + 1, wording=wording)
        else:
            if len(self._found) >= 2 * self._limit:
                self._forget()
            self._found[number] = Question(1, wording, example, guesses, _file(reply.source))

    def _forget(self) -> None:
        """Drop the wordings that drain3 has dropped."""
        kept = {cluster.cluster_id for cluster in self._drain.clusters}
        self._found = {number: found for number, found in self._found.items() if number in kept}

    def questions(self) -> list[Question]:
        """Return the wordings to ask about, the most frequent first."""
        self._forget()
        return sorted(self._found.values(), key=lambda question: (-question.times, question.wording))


def _key(template: str, guess: Score) -> str:
    """What two replies of one wording have in common besides likeness: the model's best guess and their codes."""
    codes = text.codes(template)
    return f"{guess.category}|{codes.reply_code}|{codes.status}"


def _file(source: str | None) -> str:
    return _PLACE.sub("", os.path.basename(source)) if source else "standard input"


def category_of(answer: str, guesses: Sequence[Score | str] = ()) -> str:
    """Return the category that somebody means by the number of a guess, an id, or the beginning of one.

    Raises
    ------
    DataError
        Where it is none, or the beginning of several.

    >>> category_of("mailbox_f"), category_of("2", ["virus", "greylisted"])
    ('mailbox_full', 'greylisted')

    """
    wanted = answer.strip().lower()
    known = list(tables.taxonomy().categories)
    if wanted.isdecimal():
        if 0 < int(wanted) <= len(guesses):
            guess = guesses[int(wanted) - 1]
            return guess if isinstance(guess, str) else guess.category
        raise DataError(f"{answer!r} is no guess; there are {len(guesses)}")
    if wanted in known:
        return wanted
    begun = [category for category in known if wanted and category.startswith(wanted)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise DataError(f"{answer!r} may be {', '.join(begun)}; type more of it")
    near = get_close_matches(wanted, known, n=1, cutoff=0.0)
    raise DataError(f"{answer!r} is not a category; the nearest is {near[0]!r}, and `bounceml taxonomy` lists the {len(known)} there are")
