"""Lines of a qmail log (qmail-send).

Source: qmail-log(5). qmail-send writes blanks as underscores and line ends as slashes, so an underscore of the
original text is lost; the reply is read with blanks.
"""

from __future__ import annotations

import re

from bounceml.parsing.logs_common import cut_off
from bounceml.values import Reply

_OUTCOMES = {"success": "delivered", "failure": "failed", "deferral": "delayed"}
_RESULT = re.compile(r"(?:^|[\s:])delivery (?P<number>\d{1,12}): (?P<result>success|failure|deferral):(?P<text>.*)", re.DOTALL)
_START = re.compile(r"(?:^|[\s:])starting delivery (?P<number>\d{1,12}): msg \d+ to (?:local|remote) (?P<to>\S+)")
_OTHER = re.compile(r"\sqmail(?:-send)?(?:\[\d+\])?: |^@[0-9a-f]{24} |(?:^|\s)(?:new msg|end msg|info msg|bounce msg|triple bounce:) ")
# A slash is a line end where one of qmail-remote's own sentences follows, and at the end; elsewhere it is part of a link.
_LINE_END = re.compile(r"/(?=Remote_host_|Giving_up_on_|STARTTLS_|Connected_to_|I'm_not_going_)")
_GIVEN_UP = "been in the queue too long"


def read(line: str) -> list[Reply] | None:
    """Return the results that a line reports, an empty list where it reports none, None where it is not of qmail.

    The recipient stands on an earlier line, "starting delivery 7: …"; see ``starting`` and ``number``.
    """
    match = _RESULT.search(line)
    if match is None:
        return [] if _START.search(line) or _OTHER.search(line) else None
    text = _LINE_END.sub("\n", match["text"].strip().rstrip("/")).replace("_", " ").strip()
    if not text:
        return cut_off("qmail", "reply")
    outcome = "expired" if match["result"] == "failure" and _GIVEN_UP in text else _OUTCOMES[match["result"]]
    return [Reply(text, outcome=outcome)]


def starting(line: str) -> tuple[str, str] | None:
    """Return the number of a delivery that begins, and its recipient."""
    match = _START.search(line)
    return (match["number"], match["to"]) if match else None


def number(line: str) -> str | None:
    """Return the number of the delivery whose result a line tells."""
    match = _RESULT.search(line)
    return match["number"] if match else None
