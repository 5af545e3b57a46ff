"""For Django: what Anymail's events mean, by the server's reply in place of what the mail service made of it.

Anymail (https://anymail.dev/en/stable/sending/tracking/ ) gives a signal receiver an event whose ``event_type`` and
``reject_reason`` are those that the service's own label stands for. Here they come from the reply itself. Nothing of Django or
Anymail is imported.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, Protocol

from bounceml.classifier import Classifier
from bounceml.parsing.events import read_event
from bounceml.values import Reply, Verdict

# Of what else there is, the service tells itself, as of an address on its own list: there is no reply of a server.
_JUDGED = ("bounced", "deferred")


class TrackingEvent(Protocol):
    """What is read of an ``anymail.signals.AnymailTrackingEvent``."""

    event_type: str
    recipient: str | None
    mta_response: str | None
    description: str | None
    esp_event: Any


class Normalised(NamedTuple):
    """An event in Anymail's own words, and the verdict that they stand for.

    ``event_type`` is one of ``anymail.signals.EventType``, ``reject_reason`` one of ``anymail.signals.RejectReason`` or None,
    by the scheme ``anymail`` of ``tables/schemes.csv``.
    """

    event_type: str
    reject_reason: str | None
    verdict: Verdict


@cache
def _default(lang: str) -> Classifier:
    return Classifier.load(lang=lang, scheme="anymail")


def normalise(reply: Reply | str, lang: str = "en") -> Normalised:
    """Return what a reply is to Anymail.

    Parameters
    ----------
    reply
        The server's reply, perhaps with the outcome that a report states.
    lang
        Language of the verdict's cause and remedy.

    Examples
    --------
    >>> found = normalise("550 5.1.1 user unknown")
    >>> found.event_type, found.reject_reason, found.verdict.suppress
    ('bounced', 'bounced', True)
    >>> normalise("554 5.7.1 message looks like spam")[:2]
    ('bounced', 'spam')
    >>> normalise(Reply("452 4.2.2 mailbox full", outcome="delayed"))[:2]
    ('deferred', None)

    """
    verdict = _default(lang).classify(reply)
    event_type, _, reason = (verdict.scheme_label or "unknown").partition("/")
    return Normalised(event_type, reason or None, verdict)


def normalise_event(event: TrackingEvent, lang: str = "en") -> Normalised | None:
    """Return what an event of Anymail's ``tracking`` signal is by the server's reply.

    Parameters
    ----------
    event
        What the receiver of the signal gets.
    lang
        Language of the verdict's cause and remedy.

    Returns
    -------
    Normalised | None
        None where Anymail's own words are to stand: the event is neither ``bounced`` nor ``deferred``, or holds no reply that
        tells why.

    """
    if event.event_type not in _JUDGED:
        return None
    reply = _reply(event)
    found = reply and normalise(reply, lang)
    return found if found and found.verdict.category != "unknown" else None


def _reply(event: TrackingEvent) -> Reply | None:
    """The service's own event knows more than Anymail's, such as the outcome; it may tell of several recipients."""
    try:
        read = read_event(event.esp_event) or []
    except (ValueError, RecursionError):
        read = []
    wanted = (event.recipient or "").lower()
    known = [reply for reply in read if not reply.error and reply.text]
    for reply in known:
        if len(known) == 1 or (reply.recipient or "").lower() == wanted:
            return reply
    said = event.mta_response or event.description
    outcome = "delayed" if event.event_type == "deferred" else "failed"
    return Reply(said, recipient=event.recipient, outcome=outcome) if said else None
