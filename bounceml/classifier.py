"""The one wiring of the predict line; the command line, Python callers and the evaluation all come through here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from bounceml import artefact, decide, explain, rules, tables, text
from bounceml.errors import DataError, UsageError
from bounceml.model import Model
from bounceml.tables import Rule
from bounceml.tables import policy as policies
from bounceml.tables.policy import PolicyTable
from bounceml.values import Decision, Explanation, Finding, Reading, Reply, Score, Thresholds, Verdict, Voice, Vote

_PLAIN = Voice()
_REMEMBERED = 8192  # wordings whose verdicts are kept, 30 MB: a stream, or a report on many recipients, repeats a few thousand


def judge(scores: list[Score], reading: Reading, thresholds: Thresholds, own: Vote | None = None) -> Decision:
    """Return the decision on a reading, given the model's scores of its template, and the vote of a user's own rule."""
    settled, left = decide.reported(reading.outcome, scores)
    if own and not settled:
        return decide.by_user(own, left)
    decision = settled or decide.decide(
        left,
        rules.provider_votes(reading.named),
        decide.possible(reading.outcome, rules.rule_votes(reading.template)),
        rules.code_votes(reading.codes),
        thresholds,
        reading.has_words,
    )
    return decide.expired(decision, thresholds) if reading.expired or reading.outcome == "expired" else decision


class CacheInfo(NamedTuple):
    """The counters of a cache, as of ``functools.lru_cache``."""

    hits: int
    misses: int
    maxsize: int | None
    currsize: int


class _Wording(NamedTuple):
    """What is known of a wording; whether its replies may tell something of their own, or their parts stand in some relation."""

    reading: Reading
    decision: Decision
    shared: Verdict
    may_tell: bool
    may_relate: bool


class Classifier:
    """Says why a mail bounced.

    Examples
    --------
    >>> verdict = Classifier.load().classify("552 5.2.2 mailbox full")
    >>> verdict.category, verdict.suppress
    ('mailbox_full', False)

    """

    def __init__(
        self,
        model: Model,
        thresholds: Thresholds,
        voice: Voice = _PLAIN,
        policy: PolicyTable | None = None,
        rules: tuple[Rule, ...] | None = None,
    ) -> None:
        if voice.lang not in tables.LANGUAGES:
            raise UsageError(f"no texts in language {voice.lang!r}; choose one of {', '.join(tables.LANGUAGES)}")
        if voice.scheme is not None and voice.scheme not in tables.schemes():
            raise UsageError(f"no scheme {voice.scheme!r}; choose one of {', '.join(tables.schemes())}")
        if voice.audience not in tables.AUDIENCES:
            raise UsageError(f"no texts for audience {voice.audience!r}; choose one of {', '.join(tables.AUDIENCES)}")
        self.model = model
        self._of_wording = lru_cache(_REMEMBERED)(self._judged)
        self.thresholds = thresholds
        self.voice = voice
        self.policy = policy or policies.default()
        self.rules = rules

    @classmethod
    def load(
        cls,
        folder: Path | str | None = None,
        lang: str = "en",
        threshold: float | None = None,
        scheme: str | None = None,
        audience: str = "sender",
        policy: Path | str | None = None,
        rules: Path | str | None = None,
    ) -> Classifier:
        """Open a model folder (the default model where none is named).

        Parameters
        ----------
        folder
            A folder that ``bounceml train`` wrote.
        lang
            Language of cause and remedy, ``en`` or ``zh``.
        threshold
            Probability (0-1) from which the model decides, in place of the one measured in training.
        scheme
            A key of ``tables.schemes()``: the tool whose label each verdict has besides, as ``scheme_label``.
        audience
            Who reads cause and remedy: ``sender``, ``admin`` (of the sending side) or ``recipient``.
        policy
            A TOML file of the form of ``bounceml/tables/policy.toml``: actions, and what is suppressed for how long.
        rules
            A TOML file of the form of ``bounceml/tables/rules.toml``: rules that are asked before the model, each with a ``label``
            of its own, if it likes, which a verdict has as ``user_label``.

        Raises
        ------
        ModelError
            Where the folder cannot be trusted or understood.
        UsageError
            Where there is no such language, scheme or audience.
        DataError
            Where the policy says what a policy cannot say, or a rule is not usable.

        """
        opened = artefact.load(Path(folder) if folder else artefact.default_folder())
        thresholds = opened.thresholds
        if threshold is not None:
            thresholds = thresholds._replace(model=threshold)
        own = policies.read(Path(policy)) if policy else policies.default()
        if own.suppress_threshold is not None:
            if own.suppress_threshold < thresholds.suppress:
                raise DataError(
                    f"{policy}, suppress_threshold: {own.suppress_threshold} is below what was measured to be safe; "
                    f"give a number from {thresholds.suppress} to 1"
                )
            thresholds = thresholds._replace(suppress=own.suppress_threshold)
        found = None
        if rules:
            from bounceml import own_rules

            found = own_rules.read(Path(rules))
        return cls(Model(opened), thresholds, Voice(lang, scheme, audience), own, found)

    def classify(self, reply: Reply | str, explained: bool = False) -> Verdict:
        """Return the verdict on one reply; with ``explained``, the words that moved the model are in its evidence."""
        return self.find(Reply(reply) if isinstance(reply, str) else reply, explained).verdict()

    def classify_all(self, replies: Iterable[Reply], explained: bool = False) -> Iterator[Verdict]:
        """Yield a verdict for each reply, in order."""
        for reply in replies:
            yield self.find(reply, explained).verdict()

    def find(self, reply: Reply, explained: bool = False) -> Finding:
        """Return a reply with what its verdict shares with others of its wording; ``explained`` is as in ``classify``."""
        if reply.error is not None:
            shared = explain.unreadable(reply, self.voice, self.model.name)
            return Finding(reply, self._labelled(shared, None), "")
        found = self._of_wording(words := text.wording(reply.text), reply.outcome, reply.status)
        if found.may_relate and (between := text.relations(text.judged(reply.text), reply.recipient)):
            found = self._of_wording(words, reply.outcome, reply.status, between)
        shared = explain.own(reply, found.shared, self.voice.lang) if found.may_tell else found.shared
        if explained:
            shared = self._explained(reply, found, shared)
        return Finding(reply, shared, found.reading.template)

    def _judged(self, wording: str, outcome: str, status: str | None, relations: str = "") -> _Wording:
        reading = text.reading(wording, outcome, status, relations)
        own = next(rules.own_votes(self.rules or (), reading.template), None)
        decision = judge(self.model.scores(reading.template), reading, self.thresholds, own)
        shared = explain.general(reading, decision, self.thresholds, self.voice, self.model.name, self.policy)
        may_tell = explain.may_tell(wording, decision.category)
        return _Wording(reading, decision, self._labelled(shared, decision), may_tell, text.may_relate(reading))

    def _labelled(self, shared: Verdict, decision: Decision | None) -> Verdict:
        """The same with the label of the user's rule that decided, where the user has rules."""
        if self.rules is None:
            return shared
        by = {item.by for item in decision.evidence} if decision else ()
        return shared._replace(user_label=next((rule.label for rule in self.rules if rule.id in by), ""))

    def _explained(self, reply: Reply, found: _Wording, shared: Verdict) -> Verdict:
        from bounceml import evidence

        reading, decision = found.reading, found.decision
        weights = self.model.explained(reading.template) if decision.decided_by == "model" else None
        words = evidence.of_model(weights, decision.category) if weights else ()
        told = evidence.told(reply, reading, decision, weights, self.rules or ())
        return shared._replace(evidence=words + shared.evidence, told=told)

    def remembered(self) -> CacheInfo:
        """Return how often a wording was known already, and how many are: ``hits``, ``misses``, ``maxsize``, ``currsize``."""
        return CacheInfo(*self._of_wording.cache_info())

    def explained(self, reply: Reply | str) -> Explanation:
        """Return the weight of each word of a reply for every category: all that the model's probabilities are made of.

        Examples
        --------
        >>> found = Classifier.load().explained("552 mailbox full")
        >>> column = found.labels.index("mailbox_full")
        >>> max(found.words, key=lambda word: word.weights[column]).text
        'full'

        """
        return self.model.explained(text.read(Reply(reply) if isinstance(reply, str) else reply).template)
