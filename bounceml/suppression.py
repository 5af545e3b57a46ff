"""The list of dead addresses: what many verdicts say of each recipient, as one row.

An address is on it where a verdict has ``suppress`` and no mail reached it later. Inputs come in any order (logs are rotated),
so the times decide; where one of the two is not known, or one alone tells its zone, the mail that arrived counts as the later
one, for it is the live address on the list that does harm. The recipients are kept in a file that SQLite deletes, so any number
of them takes little memory.
"""

from __future__ import annotations

import logging
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

from bounceml import tables
from bounceml.errors import UsageError
from bounceml.values import Verdict

COLUMNS = ("email", "reason", "bounce_type", "diagnostic", "first_seen", "last_seen", "expires_at")
_ARRIVED = ("delivered", "relayed", "expanded")
_BEFORE_ALL, _AFTER_ALL = "", "9999"  # stand for times that are not known

_TABLE = """
    CREATE TABLE recipient (key TEXT PRIMARY KEY, email TEXT, reason TEXT, bounce_type TEXT, diagnostic TEXT,
                            days INTEGER, first_seen TEXT, last_seen TEXT, arrived TEXT) WITHOUT ROWID
"""
_DEAD = """
    INSERT INTO recipient VALUES (:key, :email, :reason, :bounce_type, :diagnostic, :days, :first_seen, :last_seen, NULL)
    ON CONFLICT (key) DO UPDATE SET
        email = ifnull(email, excluded.email),
        reason = CASE WHEN last_seen > excluded.last_seen THEN reason ELSE excluded.reason END,
        bounce_type = CASE WHEN last_seen > excluded.last_seen THEN bounce_type ELSE excluded.bounce_type END,
        diagnostic = CASE WHEN last_seen > excluded.last_seen THEN diagnostic ELSE excluded.diagnostic END,
        days = CASE WHEN last_seen > excluded.last_seen THEN days ELSE excluded.days END,
        first_seen = min(ifnull(first_seen, excluded.first_seen), excluded.first_seen),
        last_seen = max(ifnull(last_seen, excluded.last_seen), excluded.last_seen)
"""
_ARRIVAL = """
    INSERT INTO recipient (key, arrived) VALUES (?, ?)
    ON CONFLICT (key) DO UPDATE SET arrived = max(ifnull(arrived, excluded.arrived), excluded.arrived)
"""
_LISTED = """
    SELECT email, reason, bounce_type, diagnostic, days, first_seen, last_seen FROM recipient
    WHERE email IS NOT NULL AND (arrived IS NULL OR (arrived < last_seen AND (arrived LIKE '%Z') = (last_seen LIKE '%Z')))
    ORDER BY key
"""


def rows(verdicts: Iterable[Verdict]) -> Iterator[tuple[str, ...]]:
    """Yield a row of ``COLUMNS`` for each dead address, in alphabetical order, as soon as the last verdict is known.

    Raises
    ------
    UsageError
        Where there is no room for the recipients.

    """
    nameless = 0
    try:
        with closing(sqlite3.connect("")) as found:
            found.execute(_TABLE)
            for verdict in verdicts:
                if verdict.outcome in _ARRIVED:
                    arrived = verdict.time or _AFTER_ALL
                    found.executemany(_ARRIVAL, [(_key(name), arrived) for name in (verdict.recipient, verdict.original_recipient) if name])
                elif verdict.suppress and "@" in (verdict.recipient or ""):
                    found.execute(_DEAD, _dead(verdict))
                else:
                    nameless += verdict.suppress
            for email, reason, bounce_type, diagnostic, days, first, last in found.execute(_LISTED):
                yield email, reason, bounce_type, diagnostic, "" if first == _AFTER_ALL else first, last, _expires_at(days, last)
    except sqlite3.OperationalError as error:
        raise UsageError(f"the recipients cannot be kept ({error}); make room in {tempfile.gettempdir()} and run again") from None
    if nameless:
        logging.getLogger(__name__).warning("left off the list, as the input does not tell their addresses: %d dead recipients", nameless)


def _stored(text: str) -> str:
    """The same text without halves of surrogate pairs, which SQLite does not take."""
    return text.encode("utf-8", "backslashreplace").decode()


def _key(email: str) -> str:
    return _stored(email.strip().lower())


def _dead(verdict: Verdict) -> dict[str, str | int | None]:
    email = verdict.recipient or ""
    return {
        "key": _key(email),
        "email": _stored(email.strip()),
        "reason": verdict.category,
        "bounce_type": tables.scheme_label("hard-soft", verdict.category, verdict.outcome, verdict.permanence),
        "diagnostic": _stored(" ".join(verdict.reply.split())),
        "days": verdict.suppress_days,
        "first_seen": verdict.time or _AFTER_ALL,
        "last_seen": verdict.time or _BEFORE_ALL,
    }


def _expires_at(days: int | None, last_seen: str) -> str:
    """When an address may be tried again: counted from now where the time of its bounce is not known."""
    if days is None:
        return ""
    since = datetime.fromisoformat(last_seen) if last_seen else datetime.now(UTC)
    return (since + timedelta(days=days)).isoformat(timespec="seconds").replace("+00:00", "Z")
