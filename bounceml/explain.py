"""From a decision to a verdict that a person can act on."""

from __future__ import annotations

import re
from functools import lru_cache

from bounceml import decide, details, tables, text
from bounceml.tables import policy as policies
from bounceml.tables.policy import PolicyTable
from bounceml.values import Category, Codes, Decision, DocumentedRow, Reading, Reply, Score, Texts, Thresholds, Verdict, Voice

# "check the address and try again" asks for a correction, not for patience.
_TRY_AGAIN = re.compile(
    r"(?<!and )\btry (?:again|later|back)\b|\b(?:retry|again|try) later\b|\btemporar|\bwill (?:be )?retr"
    r"|稍后|稍後|重试|重試|暂时|暫時|临时",
    re.IGNORECASE,
)


_BETWEEN = {"en": " ", "zh": ""}  # sentences


def _try_again(template: str) -> bool:
    return bool(_TRY_AGAIN.search(template))


def _outcome(reading: Reading, category: str) -> str:
    """What became of the message; a report's own word stands, unless the message expired or nothing failed."""
    stated = reading.outcome
    if category == decide.NO_BOUNCE:
        return stated if stated in ("delivered", "relayed", "expanded") else "not_a_bounce"
    if reading.expired and stated in ("failed", "unknown"):
        return "expired"
    if stated != "unknown":
        return stated
    first = str(reading.codes.reply_code or reading.codes.status or "")[:1]
    return {"5": "failed", "4": "delayed"}.get(first, "unknown")


def _texts(category: Category, row: str | None, audience: str) -> Category | DocumentedRow | Texts:
    """What holds cause and remedy; the documented table speaks to the sender alone."""
    if audience != "sender":
        return tables.audience_texts()[audience][category.id]
    return tables.taxonomy().documented[row] if row else category


def general(reading: Reading, decision: Decision, thresholds: Thresholds, voice: Voice, model: str, policy: PolicyTable) -> Verdict:
    """Return what the verdicts on all replies of one wording share.

    Parameters
    ----------
    reading
        Of any of them.
    decision
        On that wording.
    thresholds, policy
        What suppresses an address, and what else follows.
    voice
        In whose words it is told.
    model
        Name of the model, for the verdict.

    """
    category = policy.categories[decision.category]
    row = tables.documented_row(category.id, reading.template)
    texts = _texts(category, row, voice.audience)
    outcome = _outcome(reading, category.id)
    what_follows = decide.policy(category, decision, reading.codes, outcome, _try_again(reading.template), thresholds)
    codes = (details.meaning(name, voice.lang) for name in reading.named if decision.decided_by == "code")
    return Verdict(
        id=None,
        source=None,
        recipient=None,
        original_recipient=None,
        reply="",
        reply_code=reading.codes.reply_code,
        status=reading.codes.status,
        outcome=outcome,
        category=category.id,
        group=category.group,
        documented=row,
        confidence=round(decision.confidence, 4),
        decided_by=decision.decided_by,
        permanence=what_follows.permanence,
        who_acts=what_follows.who_acts,
        action=what_follows.action,
        suppress=what_follows.suppress,
        retry_after=None,
        blocklist=None,
        suggestion=None,
        cause=_BETWEEN[voice.lang].join((texts.cause[voice.lang], *codes)),
        remedy=texts.remedy[voice.lang],
        evidence=decision.evidence,
        alternatives=tuple(Score(s.category, round(s.probability, 4)) for s in decision.alternatives),
        model=model,
        error=None,
        scheme_label=tables.scheme_label(voice.scheme, category.id, outcome, what_follows.permanence) if voice.scheme else None,
        suppress_days=policy.suppress_days[category.id] if what_follows.suppress else None,
    )


def may_tell(wording: str, category: str) -> bool:
    """Say whether ``own`` may find more in a reply of this wording (see ``text.wording``) than in another."""
    return category in decide.MISTYPED or details.may_tell(wording, category)


def own(reply: Reply, shared: Verdict, lang: str) -> Verdict:
    """Return what the verdict on one reply shares with others, and what the reply tells besides; the same, where it tells nothing.

    Parameters
    ----------
    reply
        As it was received.
    shared
        What ``general`` returned for its wording.
    lang
        Language of the texts.

    """
    told = details.find(text.judged(reply.text), shared.category, lang, shared.permanence == "permanent")
    if told != details.NOTHING:
        shared = _detailed(shared, told, lang)
    if shared.category in decide.MISTYPED:
        from bounceml import suggest  # 10 ms that other verdicts need not pay

        correction = suggest.correct(reply, shared.category)
        if correction.meant:
            shared = shared._replace(suggestion=correction.meant, who_acts="sender", action="fix_address")
        if correction.illegal:
            shared = shared._replace(evidence=shared.evidence + correction.illegal)
    return shared


@lru_cache(1024)  # a limit or a blocklist is told again and again, and whoever writes the verdicts knows them again
def _detailed(shared: Verdict, told: details.Details, lang: str) -> Verdict:
    cause = _BETWEEN[lang].join((shared.cause, *told.cause))
    remedy = _BETWEEN[lang].join((shared.remedy, *told.remedy))
    return shared._replace(cause=cause, remedy=remedy, retry_after=told.retry_after, blocklist=told.blocklist)


def unreadable(reply: Reply, voice: Voice, model: str) -> Verdict:
    """Return what the row of an input that could not be read has behind its own fields: ``unknown``, with the error."""
    empty = Reading("", Codes(None, None), expired=False, has_words=False, outcome=reply.outcome)
    nobody = Decision(decide.UNKNOWN, 0.0, "nobody", (), ())
    shared = general(empty, nobody, Thresholds(1.0, 1.0, 0.0, 0.0), voice, model, policies.default())
    return shared._replace(error=reply.error, scheme_label="" if voice.scheme else None)
