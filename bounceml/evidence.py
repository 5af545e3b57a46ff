"""What decided, to be looked at: words with their weights, where they stand in the reply, and what a rule or code rests on.

The weights of the model's words, of what is left (``rest``) and of a text without words (``intercept``) add up to the margin
of the category, which a sigmoid makes a probability; ``Model.explained`` has those of all categories.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from bounceml import tables, text
from bounceml.tables import Rule
from bounceml.values import Decision, Evidence, Explanation, Mark, Reading, Reply, Span, Told

_SHOWN = 10  # words; the others are told as one
_FAINT = 0.1  # share of the strongest word's weight below which a word is not marked


def of_model(explanation: Explanation, category: str) -> tuple[Evidence, ...]:
    """Return the words that moved a category most, a word that stands twice once, then ``rest`` and ``intercept``."""
    column = explanation.labels.index(category)
    weights: dict[str, float] = {}
    for word in explanation.words:
        weights[word.text] = weights.get(word.text, 0.0) + word.weights[column]
    words = sorted((Evidence(word, "model", weight) for word, weight in weights.items()), key=lambda e: -abs(e.weight))
    rest = [Evidence("", "rest", sum(e.weight for e in words[_SHOWN:]))] if words[_SHOWN:] else []
    return (*words[:_SHOWN], *rest, Evidence("", "intercept", explanation.intercept[column]))


def told(reply: Reply, reading: Reading, decision: Decision, explanation: Explanation | None, own: Iterable[Rule] = ()) -> Told:
    """Return what a person is shown of a decision: the places in the reply's text that decided, and what they rest on.

    ``own`` are the user's rules.
    """
    rules = {rule.id: rule for rule in (*tables.rules(), *own)} if decision.decided_by == "rule" else {}
    if explanation:
        column = explanation.labels.index(decision.category)
        found = [(_span(reading, word.text, word.start), word.weights[column]) for word in explanation.words]
    else:
        found = [(_span(reading, item.text, 0), item.weight) for item in decision.evidence if item.by != "report"]
    strongest = max((weight for _, weight in found), default=0.0)
    places = in_reply(reply.text, reading)
    marks = []
    for (start, end), weight in found:
        inside = [place for place in places[start:end] if place]
        if inside and weight > strongest * _FAINT:
            marks.append(Mark(min(inside)[0], max(last for _, last in inside), weight / strongest))
    return Told(tuple(marks), "; ".join(filter(None, (_source(item, rules) for item in decision.evidence))))


def _span(reading: Reading, words: str, start: int) -> Span:
    """Where words stand in the template, without the punctuation around them; a provider's code is lower case there."""
    found = reading.template.find(words, start)
    found = found if found >= 0 else reading.template.find(words.lower())
    return (found, found + len(words)) if found >= 0 else (0, 0)


def _source(item: Evidence, rules: dict[str, Rule]) -> str:
    if item.by == "code":
        code = tables.status_meanings().get(item.text.partition(".")[2])
        return f"{item.text}: {code.meaning} ({code.source})" if code else ""
    if item.by.startswith("code:"):
        known = tables.provider_codes()[item.text]
        return f"{known.code} ({known.provider}, {known.source})"
    rule = rules.get(item.by)
    return f"{rule.id} ({rule.source})" if rule else ""


# --- from the template back to the reply ------------------------------------------------------------------------


def in_reply(reply: str, reading: Reading) -> list[Span | None]:
    """Return for each character of the template the span of the reply that it was made of, where it was made of one.

    What is lost on the way, as the codes of further lines, is skipped: each word is looked for behind the one before it.
    """
    given = list(_characters(reply))
    words = text.judged(reply).split()
    origins = [
        None if place is None else (given[place][1], given[place][1] + 1)
        for place in _found(words, "".join(character for character, _ in given), 0)
    ]
    masked, at = list[tuple[str, Span | None]](), 0
    for word in words:
        spans = origins[at : at + len(word)]
        at += len(word)
        for character, (start, end) in zip(text.mark(word), text.origins(word), strict=True):
            inside = [span for span in spans[start:end] if span]
            masked.append((character, (inside[0][0], inside[-1][1]) if inside else None))
    masked = [found for found in masked if found[0] != " "]
    whole, told = "".join(character for character, _ in masked), reading.template.split()
    places = iter(_found(told, whole, max(0, whole.find("".join(told)))))
    return [None if character == " " or (to := next(places)) is None else masked[to][1] for character in reading.template]


def _characters(reply: str) -> Iterator[tuple[str, int]]:
    """The characters of a reply in the one form that is judged, without blanks, and where each comes from."""
    for place, character in enumerate(reply):
        for one in unicodedata.normalize("NFKC", character):
            if not one.isspace():
                yield one, place


def _found(words: list[str], whole: str, at: int) -> list[int | None]:
    """Return the place of each character of ``words`` in ``whole``, neither with blanks; None for a word that is not there."""
    found: list[int | None] = []
    for word in words:
        start = whole.find(word, at)
        found += [None] * len(word) if start < 0 else range(start, start + len(word))
        at = max(at, start + len(word)) if start >= 0 else at
    return found
