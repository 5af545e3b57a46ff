"""What one line of a log tells and a later one needs."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from bounceml.parsing import logs_postfix as postfix
from bounceml.parsing import logs_qmail as qmail
from bounceml.values import Reply

_Value = TypeVar("_Value")


class Memory:
    """What earlier lines of a log told and a later one leaves out: qmail's recipients, the last word on a queued mail."""

    _MESSAGES = 100_000  # as many messages or deliveries under way are remembered

    def __init__(self) -> None:
        self._recipients: OrderedDict[str, str] = OrderedDict()
        self._deferred: OrderedDict[str, dict[str | None, Reply]] = OrderedDict()

    def complete(self, line: str, replies: list[Reply]) -> list[Reply]:
        """Return the replies of a line with what is remembered for them."""
        if "delivery " in line and "evpid=" not in line:
            return self._with_recipient(line, replies)
        if "postfix" in line and ("removed" in line or any(reply.outcome in ("delayed", "expired") for reply in replies)):
            return self._with_cause(line, replies)
        return replies

    def _with_recipient(self, line: str, replies: list[Reply]) -> list[Reply]:
        if begun := qmail.starting(line):
            _remember(self._recipients, begun[0], begun[1], self._MESSAGES)
        number = qmail.number(line) if replies else None
        recipient = self._recipients.pop(number, None) if number else None
        return [reply._replace(recipient=reply.recipient or recipient) for reply in replies]

    def _with_cause(self, line: str, replies: list[Reply]) -> list[Reply]:
        """A mail that expired in Postfix's queue failed for the reason of its last deferral, for each recipient."""
        queue_id = postfix.queue_id(line)
        if queue_id is None:
            return replies
        if line.endswith("removed") and not replies:
            self._deferred.pop(queue_id, None)
        for reply in replies:
            if reply.outcome == "delayed":
                waiting = self._deferred.get(queue_id, {})
                _remember(self._deferred, queue_id, {**waiting, reply.recipient: reply}, self._MESSAGES)
            elif reply.outcome == "expired" and reply.recipient is None and (waiting := self._deferred.pop(queue_id, {})):
                return [last._replace(outcome="expired", time=reply.time) for last in waiting.values()]
        return replies


def _remember(memory: OrderedDict[str, _Value], key: str, value: _Value, limit: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > limit:
        memory.popitem(last=False)
