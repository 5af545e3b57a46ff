"""A raw mail to replies, one per recipient that the mail reports on."""

from __future__ import annotations

from bounceml.parsing import cause, dsn, notice, other_mail
from bounceml.parsing.parts import MAX_STATUS, Mail, take_apart
from bounceml.values import Reply

# The first that finds something has the word. What is no bounce goes first, for an auto-reply or a complaint may quote a
# bounce; then the fields that a machine wrote for machines (RFC 3464); then prose, where one has to guess.
READERS = (other_mail.read, dsn.read, notice.read)


def read(raw: bytes, source: str | None = None) -> list[Reply]:
    r"""Return one reply per failed recipient of a bounce, or one for a mail that is none; never an empty list.

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
    mail = take_apart(raw)
    for reader in READERS:
        if replies := reader(mail):
            return [*(reply._replace(source=source) for reply in replies), *_rest(mail, source)]
    return [_whole(mail)._replace(source=source)]


def _rest(mail: Mail, source: str | None) -> list[Reply]:
    """A row that says what is missing, where a report is too large to read all of it."""
    why = f"{source or 'input'}: a delivery report of more than {MAX_STATUS >> 20} MB; what stands behind that was not read"
    return [Reply("", source=source, error=why)] if mail.cut else []


def _whole(mail: Mail) -> Reply:
    """The answer where no recipient is found: all that the notice says."""
    return Reply(cause.concise(mail.prose) or mail.prose.strip() or mail.headers.get("subject", ""), outcome=notice.outcome(mail))
