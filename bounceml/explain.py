"""From a decision to a verdict that a person can act on."""

from __future__ import annotations

import re
from functools import lru_cache

from bounceml import decide, suggest, tables
from bounceml.tables import policy as policies
from bounceml.tables.policy import PolicyTable
from bounceml.values import Codes, Decision, Evidence, Reading, Reply, Score, Thresholds, Verdict, Voice

_UNITS = {"s": 1, "m": 60, "h": 3600, "秒": 1, "分": 60, "小": 3600, "时": 3600, "時": 3600}
_RETRY = re.compile(
    r"(?:try|retry|again|later|wait|back|再试|重试|重試|稍后|请等待|greylist\w*|deferred)\D{0,40}?(\d{1,5})\s*-?\s*(seconds?|secs?|s\b|minutes?|mins?|hours?|秒|分|小时|小時)"
    r"|(\d{1,5})\s*(seconds?|secs?|minutes?|mins?|hours?|秒钟?|分钟?|分鐘|小时|小時)(?:之?后|之?後|\s+(?:later|and try|before))",
    re.IGNORECASE,
)
# "check the address and try again" asks for a correction, not for patience.
_TRY_AGAIN = re.compile(
    r"(?<!and )\btry (?:again|later|back)\b|\b(?:retry|again|try) later\b|\btemporar|\bwill (?:be )?retr"
    r"|稍后|稍後|重试|重試|暂时|暫時|临时",
    re.IGNORECASE,
)
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9-]+)+", re.IGNORECASE)


_REMEMBERED = 256  # texts: a report on many recipients repeats what befell them


@lru_cache(_REMEMBERED)
def retry_after(text: str) -> int | None:
    """Return how many seconds a reply asks to wait, where it says so.

    >>> retry_after("Greylisted, try again in 5 minutes")
    300
    """
    match = _RETRY.search(text)
    if not match:
        return None
    number, unit = (match[1], match[2]) if match[1] else (match[3], match[4])
    return int(number) * _UNITS[unit[0].lower()]


@lru_cache(_REMEMBERED)
def _try_again(text: str) -> bool:
    return bool(_TRY_AGAIN.search(text))


def blocklist(text: str) -> str | None:
    """Return the DNS blocklist zone that a reply names, or None.

    >>> blocklist("blocked using zen.spamhaus.org; see http://www.spamhaus.org/query/bl?ip=192.0.2.1")
    'zen.spamhaus.org'
    """
    for match in _HOST.finditer(text):
        host = match[0].lower()
        if tables.blocklist_of(host):
            return host.removeprefix("www.")
    return None


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
    taxonomy = tables.taxonomy()
    policy = policy or policies.default()
    category = policy.categories[decision.category]
    row = tables.documented_row(category.id, reading.template)
    texts = taxonomy.documented[row] if row else category
    outcome = _outcome(reply, reading, category.id)
    try_again = _try_again(reading.text)
    correction = suggest.correct(reply, category.id)
    what_follows = decide.policy(category, decision, reading.codes, outcome, try_again, thresholds, correction.meant is not None)
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
        retry_after=retry_after(reading.text),
        blocklist=blocklist(reading.text) if category.id == "dnsbl_listed" else None,
        suggestion=correction.meant,
        cause=texts.cause[voice.lang],
        remedy=texts.remedy[voice.lang],
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
