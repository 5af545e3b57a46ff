"""What is remembered changes no verdict: each is the one that all steps give, taken one by one with nothing remembered.

`make equal` asks this of a million lines (eight minutes); the tests of a few thousand.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import cache

import pytest
from conftest import DATA, MODEL, ROOT

from bounceml import Classifier, details, explain, tables, text
from bounceml.values import Finding, Reply, Verdict

sys.path.append(str(ROOT))
from bench import streams

LINES = int(os.environ.get("LINES_TO_COMPARE", "6000"))


class OneByOne:
    """Judges each reply by all steps; only the scores of a template are kept, as they take 1 ms and depend on nothing else."""

    def __init__(self, **voice: str) -> None:
        self.classifier = Classifier.load(MODEL, **voice)  # type: ignore[arg-type]  # lang and audience are texts
        self.classifier.model.scores = cache(self.classifier.model.scores)  # type: ignore[method-assign]

    def classify(self, reply: Reply) -> Verdict:
        given = reply.text
        for step in text.STEPS:
            given = step(given)
        named = tables.provider_codes()
        wording = " ".join(
            text._CODE.join([text.mark(token), *(code for code in text._CODE_LIKE.findall(token) if code in named)])
            for token in given.split()
        )
        relations = text.relations(given, reply.recipient) if text.may_relate(text.reading(wording)) else ""
        found = self.classifier._judged(wording, reply.outcome, reply.status, relations)
        details.find.cache_clear()
        shared = explain.own(reply, found.shared, self.classifier.voice.lang) if found.may_tell else found.shared
        return Finding(reply, shared, "").verdict()


def different(replies: Iterable[Reply], **voice: str) -> list[tuple[Verdict, Verdict]]:
    fast, slow = Classifier.load(MODEL, **voice), OneByOne(**voice)  # type: ignore[arg-type]
    pairs = ((fast.find(reply).verdict(), slow.classify(reply)) for reply in replies)
    return [pair for pair in pairs if pair[0] != pair[1]]


def examples() -> list[str]:
    return [json.loads(line)["text"] for path in sorted((DATA / "examples").glob("*.jsonl")) for line in path.read_text().splitlines()]


def asked(given: Iterable[str]) -> Iterator[Reply]:
    """Each text as a pasted line, and in a report that tells more than the text."""
    draw = random.Random(7)
    for line in given:
        yield Reply(line)
        outcome, status = draw.choice(["failed", "delayed", "expired", "delivered"]), draw.choice([None, "5.1.1", "4.2.2"])
        yield Reply(line, recipient="joe@mail.example.com", outcome=outcome, status=status)


@pytest.mark.parametrize("voice", [{"lang": "en"}, {"lang": "zh", "audience": "admin"}])
def test_examples(voice: dict[str, str]) -> None:
    given = examples()
    assert not different(asked(given if len(given) < LINES else random.Random(7).sample(given, 1500)), **voice)


@pytest.mark.parametrize("templates", [300, 30_000])
def test_generated_lines(templates: int) -> None:
    lines = list(streams.replies(LINES // 2, templates))
    assert not different(Reply(line, recipient=recipient) for recipient, line in lines)


_AT_ONCE = """
from threading import Barrier, Thread
from bounceml import text
ready, found = Barrier(8), []
def cut():
    ready.wait()
    found.append(text.tokens("对方邮箱空间不足"))
threads = [Thread(target=cut) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert found == [["对方", "邮箱", "空间不足"]] * 8, found
"""


def test_threads_may_meet_their_first_chinese_text_at_one_time() -> None:
    subprocess.run([sys.executable, "-c", _AT_ONCE], check=True)


def test_threads_share_a_classifier(classifier: Classifier) -> None:
    """Each of four threads gets the verdicts that one alone gets, also where the caches are full and give way."""
    replies = [Reply(line) for _, line in streams.replies(3000, 300)]
    expected = [classifier.find(reply).verdict() for reply in replies]
    shared = Classifier.load(MODEL)
    got: dict[int, list[Verdict]] = {}

    def judge(number: int) -> None:
        got[number] = [shared.find(reply).verdict() for reply in replies]

    threads = [threading.Thread(target=judge, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found == expected for found in got.values())
    remembered = shared.remembered()
    assert remembered.hits + remembered.misses >= 4 * len(replies)
    assert remembered.currsize <= remembered.maxsize
