"""What the page shows: one reply with all that is known of it, or many as figures and some rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from bounceml import decide, highlight, suppression, tables, text
from bounceml.classifier import Classifier
from bounceml.report.aggregate import kind
from bounceml.tables import Blocklist, StatusCode
from bounceml.values import Finding, Verdict
from bounceml.web.asked import Filter

SHOWN = 200  # rows of a table; filters look through all
ERRORS = 5  # inputs that could not be read that are named above it
LONGEST = 4000  # characters of a reply that are shown; one of RFC 5321 section 4.5.3.1.5 has 512
_LONGEST_ROW = 300  # of one in a table


class Answer(NamedTuple):
    """The answer on one reply.

    ``told`` are its verdicts by audience, the one who asks first. ``reply`` is its text to be shown, ``length`` that of all of it.
    ``status_code`` and ``blocklist`` are what the tables know of the verdict's own.
    """

    verdict: Verdict
    told: dict[str, Verdict]
    reply: tuple[highlight.Part, ...]
    length: int
    kind: str
    status_code: StatusCode | None
    blocklist: Blocklist | None


class Bar(NamedTuple):
    """How many replies have a cause; ``part`` is its length, 1 the longest."""

    category: str
    number: int
    kind: str
    part: float


class Row(NamedTuple):
    """A reply in the table; ``address`` and ``reply`` are to be shown."""

    verdict: Verdict
    address: str
    reply: str
    kind: str


class Overview(NamedTuple):
    """The answer on many replies.

    ``dead`` addresses are to be suppressed, and ``nameless`` replies prove one dead that they do not tell. ``found`` replies fit the
    filter, of which ``rows`` are the first.
    """

    total: int
    failed: int
    unread: int
    dead: int
    nameless: int
    bars: tuple[Bar, ...]
    rows: tuple[Row, ...]
    found: int
    errors: tuple[str, ...]

    @property
    def other(self) -> int:
        """How many tell of no failure."""
        return self.total - self.failed - self.unread


# --- one --------------------------------------------------------------------------------------------------------


def answer(finding: Finding, others: Iterable[Classifier]) -> Answer:
    """Return the answer on one reply.

    Parameters
    ----------
    finding
        The explained one, for the audience who asks.
    others
        The classifiers for further audiences.

    """
    verdict = finding.verdict()
    told = {classifier.voice.audience: classifier.classify(finding.reply) for classifier in others}
    marks = verdict.told.marks if verdict.told else ()
    subject = (verdict.status or "").partition(".")[2]
    return Answer(
        verdict,
        told,
        tuple(part._replace(text=shown(part.text)) for part in highlight.parts(verdict.reply[:LONGEST], marks)),
        len(verdict.reply),
        kind(verdict),
        tables.status_meanings().get(subject),
        tables.blocklist_of(verdict.blocklist.lower()) if verdict.blocklist else None,
    )


def shown(given: str) -> str:
    r"""Return a text of several lines with its hostile characters written out.

    >>> shown("550 no\r\n\tsuch\x1b[2J user")
    '550 no\n such\\u001b[2J user'
    """
    return "\n".join(map(text.visible, given.replace("\r\n", "\n").replace("\t", " ").split("\n")))


# --- many -------------------------------------------------------------------------------------------------------


def overview(findings: Iterable[Finding], wanted: Filter) -> Overview:
    """Return the figures of many replies and the rows that are wanted, in one pass and in memory that does not grow with them.

    Parameters
    ----------
    findings
        All of them.
    wanted
        Which rows are shown, and in which order.

    """
    seen = _Seen(wanted)
    dead = sum(1 for _ in suppression.rows(map(seen.add, findings)))
    return seen.overview(dead)


class _Seen:
    """Takes findings, one after the other."""

    def __init__(self, wanted: Filter) -> None:
        self._wanted = wanted
        self._order = _ORDERS[wanted.order]
        self._causes = Counter[tuple[str, str]]()
        self._count = self._failed = self._unread = self._nameless = self._found = 0
        self._errors: list[str] = []
        self._rows: list[Verdict] = []

    def add(self, finding: Finding) -> Verdict:
        """Count a finding, keep it where it is one of the first rows, and return its verdict."""
        verdict = finding.verdict()
        self._count += 1
        if verdict.error is not None:
            self._unread += 1
            if len(self._errors) < ERRORS:
                self._errors.append(text.visible(verdict.error))
        else:
            self._failed += verdict.category != decide.NO_BOUNCE
            self._nameless += verdict.suppress and "@" not in (verdict.recipient or "")
            self._causes[verdict.category, kind(verdict)] += 1
        if _fits(verdict, self._wanted):
            self._found += 1
            self._keep(verdict)
        return verdict

    def _keep(self, verdict: Verdict) -> None:
        if self._order:
            self._rows.append(verdict)
            if len(self._rows) >= 4 * SHOWN:  # the order is looked for now and then, as it takes a sort
                self._rows = sorted(self._rows, key=self._order)[:SHOWN]
        elif len(self._rows) < SHOWN:
            self._rows.append(verdict)

    def overview(self, dead: int) -> Overview:
        """Return what was seen."""
        rows = (sorted(self._rows, key=self._order) if self._order else self._rows)[:SHOWN]
        return Overview(
            total=self._count,
            failed=self._failed,
            unread=self._unread,
            dead=dead,
            nameless=self._nameless,
            bars=self._bars(),
            rows=tuple(map(_row, rows)),
            found=self._found,
            errors=tuple(self._errors),
        )

    def _bars(self) -> tuple[Bar, ...]:
        """A bar for each category, coloured as most of its replies are."""
        kinds: dict[str, Counter[str]] = {}
        for (category, of), count in self._causes.items():
            kinds.setdefault(category, Counter())[of] += count
        ranked = sorted(kinds.items(), key=lambda item: (-item[1].total(), item[0]))
        return tuple(
            Bar(
                category,
                counts.total(),
                "none" if category == decide.NO_BOUNCE else counts.most_common(1)[0][0],
                counts.total() / ranked[0][1].total(),
            )
            for category, counts in ranked
        )


# What rows are sorted by; the least sure first, as those are worth a look.
_ORDERS: dict[str, Callable[[Verdict], str | float] | None] = {
    "input": None,
    "recipient": lambda verdict: (verdict.recipient or "\U0010ffff").lower(),
    "category": lambda verdict: verdict.category,
    "confidence": lambda verdict: verdict.confidence,
    "action": lambda verdict: verdict.action,
}


def _fits(verdict: Verdict, wanted: Filter) -> bool:
    if wanted.dead and not verdict.suppress:
        return False
    if wanted.category and verdict.category != wanted.category:
        return False
    words = wanted.words.casefold()
    return not words or any(
        words in (field or "").casefold() for field in (verdict.recipient, verdict.reply, verdict.error, verdict.source)
    )


def _row(verdict: Verdict) -> Row:
    reply = text.visible(" ".join((verdict.error or verdict.reply)[: _LONGEST_ROW + 1].split()))
    return Row(
        verdict,
        text.visible(verdict.recipient or verdict.id or ""),
        reply if len(reply) <= _LONGEST_ROW else f"{reply[:_LONGEST_ROW]}…",
        "none" if verdict.category == decide.NO_BOUNCE else kind(verdict),
    )
