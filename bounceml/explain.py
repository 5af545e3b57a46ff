"""From a decision to a verdict that a person can act on."""

from __future__ import annotations

import re
from functools import lru_cache

from bounceml import decide, details, suggest, tables
from bounceml.tables import policy as policies
from bounceml.tables.policy import PolicyTable
from bounceml.values import Category, Codes, Decision, DocumentedRow, Evidence, Reading, Reply, Score, Texts, Thresholds, Verdict, Voice

# "check the address and try again" asks for a correction, not for patience.
_TRY_AGAIN = re.compile(
    r"(?<!and )\btry (?:again|later|back)\b|\b(?:retry|again|try) later\b|\btemporar|\bwill (?:be )?retr"
    r"|稍后|稍後|重试|重試|暂时|暫時|临时",
    re.IGNORECASE,
)


_BETWEEN = {"en": " ", "zh": ""}  # sentences
_REMEMBERED = 256  # texts: a report on many recipients repeats what befell them


@lru_cache(_REMEMBERED)
def _try_again(text: str) -> bool:
    return bool(_TRY_AGAIN.search(text))


def _outcome(reply: Reply, reading: Reading, category: str) -> str:
    """What became of the message; a report's own word stands, unless the message expired or nothing failed."""
    if category == decide.NO_BOUNCE:
        return reply.outcome if reply.outcome in ("delivered", "relayed", "expanded") else "not_a_bounce"
    if reading.expired and reply.outcome in ("failed", "unknown"):
        return "expired"
    if reply.outcome != "unknown":
        return reply.outcome
    first = str(reading.codes.reply_code or reading.codes.status or "")[:1]
    return {"5": "failed", "4": "delayed"}.get(first, "unknown")


def _texts(category: Category, row: str | None, audience: str) -> Category | DocumentedRow | Texts:
    """What holds cause and remedy; the documented table speaks to the sender alone."""
    if audience != "sender":
        return tables.audience_texts()[audience][category.id]
    return tables.taxonomy().documented[row] if row else category


def verdict(
    reply: Reply,
    reading: Reading,
    decision: Decision,
    evidence: tuple[Evidence, ...],
    thresholds: Thresholds,
    voice: Voice,
    model: str,
    policy: PolicyTable | None = None,
) -> Verdict:
    """Return the verdict for one reply, in the words that ``voice`` asks for; what follows is as ``policy`` says, or the default one."""
    policy = policy or policies.default()
    category = policy.categories[decision.category]
    row = tables.documented_row(category.id, reading.template)
    texts = _texts(category, row, voice.audience)
    outcome = _outcome(reply, reading, category.id)
    try_again = _try_again(reading.text)
    correction = suggest.correct(reply, category.id)
    what_follows = decide.policy(category, decision, reading.codes, outcome, try_again, thresholds, correction.meant is not None)
    told = details.find(reading.text, category.id, voice.lang, what_follows.permanence == "permanent")
    codes = tuple(details.meaning(item.text, voice.lang) for item in decision.evidence if item.by.startswith("code:"))
    return Verdict(
        id=reply.id,
        source=reply.source,
        recipient=reply.recipient,
        original_recipient=reply.original_recipient,
        reply=reply.text,
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
        retry_after=told.retry_after,
        blocklist=told.blocklist,
        suggestion=correction.meant,
        cause=_BETWEEN[voice.lang].join((texts.cause[voice.lang], *codes, *told.cause)),
        remedy=_BETWEEN[voice.lang].join((texts.remedy[voice.lang], *told.remedy)),
        evidence=evidence + correction.illegal,
        alternatives=tuple(Score(s.category, round(s.probability, 4)) for s in decision.alternatives),
        model=model,
        error=None,
        columns=reply.columns,
        scheme_label=tables.scheme_label(voice.scheme, category.id, outcome, what_follows.permanence) if voice.scheme else None,
        time=reply.time,
        suppress_days=policy.suppress_days[category.id] if what_follows.suppress else None,
    )


def unreadable(reply: Reply, voice: Voice, model: str) -> Verdict:
    """Return the row of an input that could not be read: ``unknown``, with the error."""
    empty = Reading("", "", Codes(None, None), expired=False, has_words=False)
    nobody = Decision(decide.UNKNOWN, 0.0, "nobody", (), ())
    row = verdict(reply, empty, nobody, (), Thresholds(1.0, 1.0, 0.0, 0.0), voice, model)
    return row._replace(error=reply.error, scheme_label="" if voice.scheme else None)
