"""A raw mail to replies, one per recipient that the mail reports on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from bounceml.parsing import cause, dsn, notice, other_mail
from bounceml.parsing.parts import Mail, attached, take_apart
from bounceml.values import Reply

# The first that finds something has the word. What is no bounce goes first, for an auto-reply or a complaint may quote a
# bounce; then the fields that a machine wrote for machines (RFC 3464); then prose, where one has to guess.
READERS = (other_mail.read, dsn.read, notice.read)
# Attached mails that are read of one mail, and of one that is attached itself: those of 20 MB take 2 seconds.
_MAX_ATTACHED = (1000, 5)


def read(raw: bytes, source: str | None = None) -> list[Reply]:
    r"""Return one reply per recipient of a bounce, or one for a mail that is none; never an empty list.

    A bounce that a person forwards as an attachment is read in place of the mail around it. Where a part of a mail is too
    large to read all of it, the last reply has an ``error`` that says so.

    Parameters
    ----------
    raw
        The mail, any bytes.
    source
        Its path, for ``Reply.source``.

    Examples
    --------
    >>> read(b"From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n\n<joe@example.com>:\n550 No such user\n")[0].text
    '550 No such user'

    """
    place = source or "input"
    return [reply._replace(source=source, error=f"{place}: {reply.error}" if reply.error else None) for reply in _answer(raw)]


def _answer(raw: bytes, limits: Sequence[int] = _MAX_ATTACHED) -> list[Reply]:
    mail = take_apart(raw)
    forwarded = list(_forwarded(raw, limits)) if other_mail.may_forward(mail) else []
    return forwarded or _own(mail)


def _forwarded(raw: bytes, limits: Sequence[int]) -> Iterator[Reply]:
    """The answers of the bounces that a person attached to a mail."""
    limit, *deeper = limits or (0,)
    mails = attached(raw)
    for inner in islice(mails, limit):
        yield from (reply for reply in _answer(inner, deeper) if reply.outcome != "not_a_bounce")
    if next(mails, None) is not None:
        yield Reply("", error="more attached mails, or more of them one in another, than are read of one mail; save and name the rest")


def _own(mail: Mail) -> list[Reply]:
    """What the mail itself says, and what it would say if it were not too large."""
    replies = next((found for reader in READERS if (found := reader(mail))), None) or [_whole(mail)]
    tells_of_nobody = all(reply.outcome == "not_a_bounce" for reply in replies)
    if time := mail.headers.get("date"):
        replies = [reply._replace(time=time) for reply in replies]
    return replies if tells_of_nobody else [*replies, *(Reply("", error=why) for why in mail.cut)]


def _whole(mail: Mail) -> Reply:
    """The answer where no recipient is found: what the notice says."""
    text = cause.concise(mail.prose) or cause.opening(mail.prose) or mail.headers.get("subject", "")
    return Reply(text, outcome=notice.outcome(mail))
