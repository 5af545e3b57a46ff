"""The policy, as pure functions of values: who decides the category, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bounceml.values import Category, Codes, Decision, Evidence, Policy, Score, Thresholds, Vote

UNKNOWN = "unknown"
NO_BOUNCE = "not_a_bounce"
QUEUE_EXPIRED = "queue_expired"
ADDRESS_SYNTAX = "address_syntax"
MISTYPED = frozenset((ADDRESS_SYNTAX, "host_unknown", "no_mx", "connection_refused"))  # what a mistyped address comes back with
# Outcomes (RFC 3464 section 2.3.3 and ours) by which a report itself says that nothing failed, or that something did.
NO_FAILURE = frozenset(("delivered", "relayed", "expanded", NO_BOUNCE))
_FAILURE = frozenset(("failed", "delayed", "expired"))


def reported(outcome: str, scores: Sequence[Score]) -> tuple[Decision | None, Sequence[Score]]:
    """Return what a report's own word settles: a decision where nothing failed, else the scores that it leaves.

    A failure that a report states cannot be ``not_a_bounce``, whatever the words look like.
    """
    if outcome in NO_FAILURE:
        return Decision(NO_BOUNCE, 1.0, "rule", (Evidence(outcome, "report", 1.0),), ()), scores
    if outcome not in _FAILURE:
        return None, scores
    left = [score for score in scores if score.category != NO_BOUNCE]
    whole = sum(score.probability for score in left) or 1.0
    return None, [Score(score.category, score.probability / whole) for score in left]


def possible(outcome: str, votes: Iterable[Vote]) -> Iterable[Vote]:
    """Return the votes that a report's own word leaves, as ``reported`` does with scores."""
    return (vote for vote in votes if vote.category != NO_BOUNCE) if outcome in _FAILURE else votes


def decide(
    scores: Sequence[Score],
    provider: Iterable[Vote],
    rules: Iterable[Vote],
    codes: Iterable[Vote],
    thresholds: Thresholds,
    has_words: bool = True,
) -> Decision:
    """Return the category of a reply.

    The order is: a provider's own documented code; the model where it knows a cause, its probability reaches the threshold
    and there are words to judge by (a bare 550 or 5.7.1 decides nothing); the first rule that hits; the model where it is
    sure that no cause is told; the enhanced status code; else nobody, and the category is ``unknown``. The iterables are
    read no further than needed.
    """
    best = scores[0]
    answers = has_words and best.probability >= thresholds.model
    by_model = Decision(best.category, best.probability, "model", (), _others(scores, best.category))
    for vote in provider:
        confidence = max(thresholds.rules, next(s.probability for s in scores if s.category == vote.category))
        return _decided(vote, confidence, "code", scores)
    if answers and best.category != UNKNOWN:
        return by_model
    for vote in rules:
        return _decided(vote, thresholds.rules, "rule", scores)
    if answers:
        return by_model
    for vote in codes:
        return _decided(vote, thresholds.codes, "code", scores)
    return Decision(UNKNOWN, best.probability, "nobody", (), _others(scores, UNKNOWN))


def by_user(vote: Vote, scores: Sequence[Score]) -> Decision:
    """Return what a user's own rule decides; it is theirs to be sure of."""
    return _decided(vote, 1.0, "rule", scores)


def expired(decision: Decision, thresholds: Thresholds) -> Decision:
    """Return the decision on a message whose time in the queue ran out: that is the cause where no other is told."""
    if decision.category != UNKNOWN:
        return decision
    others = tuple(s for s in decision.alternatives if s.category != QUEUE_EXPIRED)
    return Decision(QUEUE_EXPIRED, thresholds.rules, "rule", (Evidence("expired", "report", 1.0),), others)


def _decided(vote: Vote, confidence: float, by: str, scores: Sequence[Score]) -> Decision:
    return Decision(vote.category, confidence, by, (vote.evidence,), _others(scores, vote.category))


def _others(scores: Sequence[Score], chosen: str, most: int = 3) -> tuple[Score, ...]:
    """The runners-up worth showing: those of at least one in a hundred."""
    return tuple(s for s in scores[: most + 1] if s.category != chosen and s.probability >= 0.01)[:most]


def permanence(category: Category, codes: Codes, outcome: str, try_again: bool) -> str:
    """Return whether the failure lasts: ``permanent``, ``temporary`` or ``unknown``.

    The category knows best: a limit stays temporary behind a 5yz code. A 4yz code (RFC 5321 section 4.2.1), a report that
    the mail is only delayed or the words "try again later" make any other failure temporary: trying again may help.
    """
    first = str(codes.reply_code or codes.status or "")[:1]
    if category.permanence in ("temporary", UNKNOWN):
        return category.permanence
    if first == "4" or outcome == "delayed" or try_again:
        return "temporary"
    if category.permanence == "by_code":
        return "permanent" if first == "5" else UNKNOWN
    return category.permanence


def policy(category: Category, decision: Decision, codes: Codes, outcome: str, try_again: bool, thresholds: Thresholds) -> Policy:
    """Return what follows from a decision.

    Suppressing a live address is the costly error: it takes a category that means a dead address, a permanent
    failure, and a confidence of at least ``thresholds.suppress``.
    """
    lasting = permanence(category, codes, outcome, try_again)
    suppress = (
        category.may_suppress and lasting == "permanent" and outcome in ("failed", UNKNOWN) and decision.confidence >= thresholds.suppress
    )
    return Policy(lasting, category.who_acts, "suppress" if suppress else category.action, suppress)
