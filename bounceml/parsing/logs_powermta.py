"""PowerMTA's accounting files: CSV, the columns named by a header line.

Source: PowerMTA User's Guide, chapter "Accounting"; record types and fields as in hackmd.io/@z3d3m0n/Pmta_records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from bounceml.parsing import decode, rows
from bounceml.values import Reply

# Record types and the outcome they stand for; "r" (mail received) and further ones report no delivery.
_OUTCOMES = {
    "d": "delivered",
    "b": "failed",
    "rb": "failed",  # a remote bounce: it came back later, as a mail
    "t": "delayed",
    "tq": "delayed",  # the whole queue could not be delivered
    "rs": "unknown",  # a remote status report; its action says which
    "f": "not_a_bounce",  # a complaint, by feedback loop
}
_ACTIONS = ("failed", "delayed", "delivered", "relayed", "expanded")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_TYPE = re.compile(r"\s*(?:smtp|x-[\w.-]{1,40})\s*;\s*", re.IGNORECASE)
_EXPIRED = "message-expired"


def recognise(head: bytes) -> bool:
    """Return whether a table's first line names PowerMTA's columns.

    >>> recognise(b"type,timeLogged,orig,rcpt,dsnDiag"), recognise(b"text,recipient")
    (True, False)
    """
    columns = head.partition(b"\n")[0].strip().split(b",")
    return b"type" in columns and (b"dsnDiag" in columns or b"bounceCat" in columns)


def read(file: Iterable[bytes], source: str | None, _column: str | None = None) -> Iterator[Reply]:
    """Yield one reply for each record that reports a delivery, a failure or a delay; all its columns go with it."""
    names: list[str] = []
    for number, cells in rows.table(decode.line(line.replace(b"\0", b"")) for line in file):
        place = f"{source}:{number}" if source else None
        if cells is None:
            yield rows.unclosed(source, number)
        elif "type" in cells and ("dsnDiag" in cells or "bounceCat" in cells):
            names = cells  # a new header: each start of the server writes one
        elif cells and not names:
            yield Reply("", source=place, error=f"{place or 'input'}: no header line with 'type' and 'dsnDiag'; add the one of your file")
            return
        elif cells:
            yield from _replies(rows.by_column(names, cells), place)


def _replies(row: dict[str, str], place: str | None) -> Iterator[Reply]:
    outcome = _OUTCOMES.get(row.get("type", "").strip())
    if outcome is None:
        return
    action = row.get("dsnAction", "").strip().lower()
    if row.get("bounceCat") == _EXPIRED:
        outcome = "expired"
    elif outcome == "unknown" and action in _ACTIONS:
        outcome = action
    status = _STATUS.search(row.get("dsnStatus", ""))
    said = _TYPE.sub("", row.get("dsnDiag", ""), count=1).strip()
    yield Reply(
        said or row.get("dsnStatus") or row.get("bounceCat") or row.get("feedbackType") or action,
        source=place,
        recipient=row.get("rcpt") or None,
        original_recipient=row.get("orcpt", "").removeprefix("rfc822;") or None,
        outcome=outcome,
        status=status[0] if status else None,
        columns=row,
        time=row.get("timeLogged") or None,
    )
