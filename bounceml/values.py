"""The values that travel between the floors; nothing here reads a file or decides anything.

They are named tuples: immutable, cheap to make a million of, and free of the import cost of ``dataclasses``
(10 ms of a 50 ms start-up, measured with ``python -X importtime``).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import NamedTuple


class Reply(NamedTuple):
    """What one recipient got back: the text to judge and what the input says around it.

    ``text`` is the server's reply as received. ``outcome`` is what a report states (RFC 3464 section 2.3.3) or
    ``unknown``. ``status`` is a report's own Status field, used where the text carries no code. ``error`` says why
    this input could not be read; then there is no text to judge. ``columns`` are those of the table's row that the reply
    stands in, but for its ``id``; nobody reads them, they are carried to the output. ``time`` is when the server said so, in
    ISO 8601, and ``host`` the mail exchanger, where the input tells them.
    """

    text: str
    id: str | None = None
    source: str | None = None
    recipient: str | None = None
    original_recipient: str | None = None
    outcome: str = "unknown"
    status: str | None = None
    error: str | None = None
    columns: Mapping[str, object] | None = None
    time: str | None = None
    host: str | None = None


class Codes(NamedTuple):
    """The reply code (RFC 5321 section 4.2) and enhanced status code (RFC 3463) of a reply, where it has them."""

    reply_code: int | None
    status: str | None


Span = tuple[int, int]  # the first character of a part of a text, and the one behind its last


class Reading(NamedTuple):
    """A reply made ready to judge. ``template`` is all that the model and the rules see of it.

    ``expired`` tells that the message waited in a queue until its time ran out; ``has_words`` that the template holds
    more than codes and marks; ``outcome`` is what the report states, as in ``Reply``; ``named`` are the providers' own codes.
    """

    template: str
    codes: Codes
    expired: bool
    has_words: bool
    outcome: str = "unknown"
    named: tuple[str, ...] = ()


class Score(NamedTuple):
    """A category and its calibrated probability (0-1)."""

    category: str
    probability: float


class Evidence(NamedTuple):
    """Words that decided, who says so (``model``, a rule's id or ``code``), and with what weight.

    A character that no address may hold is told by ``address``. Words of the ``model`` weigh what they add to the margin of the
    category; ``rest`` is what all words add that are not told, and ``intercept`` the margin without any.
    """

    text: str
    by: str
    weight: float


class Word(NamedTuple):
    """A word, mark or code of a template, where it stands there, and its weight for each category of the model."""

    text: str
    start: int
    end: int
    weights: tuple[float, ...]


class Explanation(NamedTuple):
    """What the model sees in a template: the margin of ``labels[n]`` is ``intercept[n]`` plus the ``weights[n]`` of all words.

    A sigmoid makes each margin a probability of its own, and these are scaled to sum to one: the calibrated probabilities.
    """

    labels: tuple[str, ...]
    intercept: tuple[float, ...]
    words: tuple[Word, ...]


class Mark(NamedTuple):
    """A part of a reply that decided, and how strongly: up to 1, its strongest part."""

    start: int
    end: int
    strength: float


class Told(NamedTuple):
    """What a person is shown of a decision: the parts of the reply that decided, and the source of the rule or code that did."""

    marks: tuple[Mark, ...]
    source: str


class Vote(NamedTuple):
    """What a rule or a code says: a category, and the evidence for it."""

    category: str
    evidence: Evidence


class Thresholds(NamedTuple):
    """Probabilities (0-1) below which the model does not decide, and below which nothing is suppressed.

    ``rules`` and ``codes`` are how often a rule or a status code was right on held-out replies that the model left
    undecided: the confidence of a verdict that they decide. All four are measured in training and kept in the manifest.
    """

    model: float
    suppress: float
    rules: float
    codes: float


class Decision(NamedTuple):
    """The category, how sure we are (0-1), who decided, on what evidence, and the runners-up."""

    category: str
    confidence: float
    decided_by: str
    evidence: tuple[Evidence, ...]
    alternatives: tuple[Score, ...]


class Category(NamedTuple):
    """One category of the taxonomy, its texts by language."""

    id: str
    group: str
    name: dict[str, str]
    cause: dict[str, str]
    remedy: dict[str, str]
    permanence: str
    who_acts: str
    action: str
    may_suppress: bool
    documented: str | None


class DocumentedRow(NamedTuple):
    """One row of the documented table, its own cause and remedy by language."""

    id: str
    row: str
    name: dict[str, str]
    cause: dict[str, str]
    remedy: dict[str, str]


class Texts(NamedTuple):
    """The cause and remedy of a category for one audience, by language."""

    cause: dict[str, str]
    remedy: dict[str, str]


class Voice(NamedTuple):
    """In whose words a verdict is told: ``lang`` of its texts (``en`` or ``zh``), the tool whose label it has besides, and to whom.

    ``audience`` is ``sender``, ``admin`` (of the sending side) or ``recipient``.
    """

    lang: str = "en"
    scheme: str | None = None
    audience: str = "sender"


class Policy(NamedTuple):
    """What follows from a decision: whether it lasts, who acts, what to do, and whether the address may be suppressed."""

    permanence: str
    who_acts: str
    action: str
    suppress: bool


class Verdict(NamedTuple):
    """The answer for one recipient. The field names and their order are a public contract.

    Those with a default are none of it: ``columns`` holds what else stood in the row of a table, to be written beside them,
    ``scheme_label`` what another tool calls the verdict, where that was asked for; it is empty where that tool has no name. ``user_label``
    is that of the user's rule which decided, where there are such rules; empty where another decided, or it has none.
    ``time`` is that of the reply, ``told`` what an explained one shows to a person, and ``suppress_days`` how long an address that
    has ``suppress`` stays on a list; None: for good.
    """

    id: str | None
    source: str | None
    recipient: str | None
    original_recipient: str | None
    reply: str
    reply_code: int | None
    status: str | None
    outcome: str
    category: str
    group: str
    documented: str | None
    confidence: float
    decided_by: str
    permanence: str
    who_acts: str
    action: str
    suppress: bool
    retry_after: int | None
    blocklist: str | None
    suggestion: str | None
    cause: str
    remedy: str
    evidence: tuple[Evidence, ...]
    alternatives: tuple[Score, ...]
    model: str
    error: str | None
    columns: Mapping[str, object] | None = None
    time: str | None = None
    scheme_label: str | None = None
    told: Told | None = None
    suppress_days: int | None = None
    user_label: str | None = None

    def carried(self) -> dict[str, object]:
        """Return what is written behind the verdict's fields: another tool's and the user's label, and the columns of the input's row.

        One that is named like a field of the verdict has "input_" before its name.

        >>> from bounceml import Classifier
        >>> Classifier.load().classify(Reply("552 mailbox full", columns={"reply": "552", "campaign": 7})).carried()
        {'input_reply': '552', 'campaign': 7}
        """
        return self.labels() | carried_columns(self.columns or {})

    def labels(self) -> dict[str, str]:
        """Return another tool's and the user's label by name, where they were asked for."""
        return {name: label for name, label in zip(LABELS, (self.scheme_label, self.user_label), strict=True) if label is not None}

    def to_dict(self) -> dict[str, object]:
        """Return the verdict as plain dictionaries and lists, ready for JSON, what is carried behind its fields."""
        row: dict[str, object] = dict(zip(FIELDS, self, strict=False))
        row["evidence"] = [item._asdict() for item in self.evidence]
        row["alternatives"] = [item._asdict() for item in self.alternatives]
        row.update(self.carried())
        return row


FIELDS = Verdict._fields[: -len(Verdict._field_defaults)]  # those of the contract
LABELS = ("scheme_label", "user_label")
OWN = FIELDS.index("reply") + 1  # the fields in front are the reply's own
_OURS = frozenset(FIELDS + LABELS)
_COLUMNS = Verdict._fields.index("columns")  # and so are this one and the next


class Finding(NamedTuple):
    """A reply and the verdict on its wording, which many replies share: their own fields are empty there.

    ``template`` is what the model and the rules saw of it.
    """

    reply: Reply
    shared: Verdict
    template: str

    @property
    def own(self) -> tuple[str | None, ...]:
        """The fields of the verdict that are the reply's own, the first ``OWN``."""
        reply = self.reply
        return (reply.id, reply.source, reply.recipient, reply.original_recipient, reply.text)

    def verdict(self) -> Verdict:
        """Return the verdict on this reply."""
        reply, shared = self.reply, self.shared
        return Verdict._make((*self.own, *shared[OWN:_COLUMNS], reply.columns, reply.time, *shared[_COLUMNS + 2 :]))

    def carried(self) -> dict[str, object]:
        """Return what is written behind the verdict's fields, as ``Verdict.carried``."""
        return self.shared.labels() | carried_columns(self.reply.columns or {})


def verdicts_of(findings: list[Finding]) -> list[Verdict]:
    """Return the verdict of each finding."""
    return [finding.verdict() for finding in findings]


def carried_columns(columns: Mapping[str, object]) -> dict[str, object]:
    """Return the columns of a row as they are called beside the verdict's fields."""
    if _OURS.isdisjoint(columns):
        return dict(columns)
    return {carried_name(name, columns): value for name, value in columns.items()}


def carried_name(name: str, columns: Container[str] = ()) -> str:
    """Return what a column is called beside the verdict's fields; no two of a row's ``columns`` get the same name.

    >>> carried_name("campaign"), carried_name("status"), carried_name("status", {"status", "input_status"})
    ('campaign', 'input_status', 'input_input_status')
    """
    if name not in _OURS:
        return name
    name = f"input_{name}"
    while name in columns:
        name = f"input_{name}"
    return name
