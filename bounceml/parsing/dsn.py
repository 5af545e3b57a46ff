"""Delivery status notifications: RFC 3464 and RFC 6533 fields, and the same in Amazon SES's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from io import StringIO

from bounceml.parsing import cause, events, notice
from bounceml.parsing.parts import Mail
from bounceml.values import Reply

Block = dict[str, str]

# RFC 3464 section 2.3, with what some servers write instead.
_FIELD = re.compile(
    r"[ ]{0,2}(original-recipient|final-recipient|action|status|remote-mta|diagnostic-code|last-attempt-date|will-retry-until|final-log-id"
    r"|original-envelope-id|reporting-mta|dsn-gateway|received-from-mta|arrival-date|localized-\w+|x-[\w-]+)[ \t]*:[ \t]*(.*)",
    re.IGNORECASE,
)
_PER_RECIPIENT = ("final-recipient", "original-recipient", "x-actual-recipient")
_RECIPIENT_LINE = re.compile(r"^[ ]{0,2}(?:final|original)-recipient[ \t]*:", re.IGNORECASE | re.MULTILINE)
_REPORT_LINE = re.compile(
    r"^[ ]{0,2}(?:(?:final|original)-recipient|reporting-mta|original-envelope-id|action)[ \t]*:", re.IGNORECASE | re.MULTILINE
)
_ACTION = re.compile(r"failed|delayed|delivered|relayed|expanded|expired", re.IGNORECASE)
_MAX_VALUE = 8192  # characters; a reply line has 512 at most (RFC 5321 section 4.5.3.1.5), a reply seldom ten lines
_ARRIVED = ("delivered", "relayed", "expanded")


def read(mail: Mail) -> list[Reply]:
    """Return the replies of a delivery report, one per recipient, whatever became of the mail to it."""
    return _read_json(mail.prose) or _read_fields(mail)


def _read_fields(mail: Mail) -> list[Reply]:
    prose, report = (mail.prose, mail.status) if mail.status else _split_report(mail.prose)
    blocks = [block for block in _blocks(report) if not block.keys().isdisjoint(_PER_RECIPIENT)]
    if not blocks:
        return []
    given_up = bool(_EXPIRED.search(prose))
    actions = [_outcome(block, given_up=given_up) for block in blocks]
    human = _Human(prose, alone=len(blocks) == 1, all_arrived=all(action in _ARRIVED for action in actions))
    replies: dict[str, Reply] = {}
    for number, (block, action) in enumerate(zip(blocks, actions, strict=True)):
        reply = _reply(block, action, human)
        name = (reply.recipient or str(number)).lower()
        if name not in replies or (replies[name].outcome in _ARRIVED and action not in _ARRIVED):
            replies[name] = reply
    return list(replies.values())


def _split_report(prose: str) -> tuple[str, str]:
    """Return the prose, and the fields of a delivery report that lost its boundary, or has none ("Technical report:")."""
    first = _REPORT_LINE.search(prose)
    if first is None or not _RECIPIENT_LINE.search(prose):
        return prose, ""
    return prose[: first.start()], prose[first.start() :]


# --- fields -----------------------------------------------------------------------------------------------------


def _blocks(report: str) -> Iterator[Block]:
    """Yield the field groups of a report, names in lower case, values unfolded.

    Groups end at a blank line (RFC 3464 section 2.1), but some servers put one inside a group and others none between
    two: a group ends where it has a recipient, and another, or a field it has already, follows.
    """
    block: Block = {}
    name, blank = "", False
    for line in StringIO(report):  # a list of ten million lines would take a gigabyte
        if line.isspace():
            name, blank = "", True
        elif ":" in line and (field := _FIELD.match(line)):
            name = field[1].lower()
            if _begins_group(name, block, blank=blank):
                yield block
                block = {}
            block.setdefault(name, field[2].strip()[:_MAX_VALUE])
            blank = False
        elif name and len(block[name]) >= _MAX_VALUE:  # a field folded over a million lines would be copied for each
            continue
        elif name and (line.startswith((" ", "\t")) or name == "diagnostic-code"):
            block[name] = _unfold(block[name], line.strip()[:_MAX_VALUE])
    if block:
        yield block


def _begins_group(name: str, block: Block, *, blank: bool) -> bool:
    """Whether a field is the first of the next group, given those before it and whether a blank line stands between."""
    again, of_recipient = name in block, name in _PER_RECIPIENT
    if blank and again and of_recipient:
        return True
    if not (again or (blank and (of_recipient or name == "action"))):
        return False
    return ("action" in block or "diagnostic-code" in block) and not block.keys().isdisjoint(_PER_RECIPIENT)


_REPLY_LINE = re.compile(r"[245]\d\d[ -]")


def _unfold(value: str, line: str) -> str:
    """Join a folded line; a further line of a multi-line reply (RFC 5321 section 4.2.1) stays a line."""
    return f"{value}\n{line}" if _REPLY_LINE.match(line) else f"{value} {line}".strip()


def _action(block: Block) -> str:
    found = _ACTION.search(block.get("action", ""))
    return found[0].lower() if found else "delayed" if "will-retry-until" in block else "failed"


# OpenSMTPD (bounce.c) reports with "delayed" also a mail that it gave up.
_EXPIRED = re.compile(r"\benvelope expired\b", re.IGNORECASE)


def _outcome(block: Block, *, given_up: bool) -> str:
    action = _action(block)
    if action == "failed" and "action" in block and block.get("status", "").startswith("4."):
        return "expired"  # a temporary failure (RFC 3463 section 2) that became final: its time was up
    return "expired" if action == "delayed" and (given_up or _EXPIRED.search(block.get("diagnostic-code", ""))) else action


_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


def _status(block: Block) -> str | None:
    found = _STATUS.search(block["status"]) if "status" in block else None
    return found[0] if found else None


_BRACKETED = re.compile(r"<([^<>]+)>")
_COMMENT = re.compile(r"(?<!\s)\s*\([^()]*\)")


def _address(block: Block, *names: str) -> str | None:
    """Return the address in the first of these fields that has one: ``type; address`` (RFC 3464 section 2.1.2)."""
    for name in names:
        if name not in block:
            continue
        kind, separator, value = block[name].partition(";")
        value = value if separator and "@" not in kind else block[name]
        if "<" in value and (bracketed := _BRACKETED.search(value)):
            value = bracketed[1]
        elif "(" in value:
            value = _COMMENT.sub("", value)
        value = value.strip(" \t'\"<>").removeprefix("mailto:")
        value = _decode_xtext(value) if "\\" in value or "+" in value else value
        if value.startswith("@"):  # a source route, "@relay:user@host" (RFC 5321 section 4.1.1.3), or only its relay
            value = value.partition(":")[2]
        if value and " " not in value and not value.startswith(("|", "/")):
            return value
    return None


_UTF8_XTEXT = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")


def _decode_xtext(value: str) -> str:
    r"""Decode utf-8-addr-xtext (RFC 6533 section 3), and of xtext (RFC 3461 section 4) what it must encode: "+" and "=".

    >>> _decode_xtext(r"\x{4F60}+2Bnews@example.com")
    '你+news@example.com'
    """

    def character(match: re.Match[str]) -> str:
        number = int(match[1], 16)
        return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else match[0]

    return _UTF8_XTEXT.sub(character, value).replace("+2B", "+").replace("+3D", "=")


# --- the text to judge ------------------------------------------------------------------------------------------

_AGREEMENT = re.compile(r"2\d\d[ -]")
_WORD = re.compile(r"[^\W\d]")
_TYPE = re.compile(r"\s*(?:smtp|dns|unknown|x-[\w.-]{1,40})\s*;\s*", re.IGNORECASE)


_BEGINS = re.compile(r"([245]\d\d)-")


def _completed(text: str, human: str) -> str:
    """Return a multi-line reply (RFC 5321 section 4.2.1) with its last lines; Sendmail reports the first line only."""
    code = _BEGINS.match(text)
    if code is None or f"{code[1]} " in text:
        return text
    _, found, rest = human.partition(text)
    last = re.search(rf"^{code[1]} .*", rest, re.MULTILINE) if found else None
    return text + rest[: last.end()] if last else text


class _Human:
    """What the prose of a report says, read where the fields do not suffice: that takes longer than reading them."""

    def __init__(self, prose: str, *, alone: bool, all_arrived: bool) -> None:
        self._prose = prose
        self._alone = alone
        self._all_arrived = all_arrived
        self.names_originals = bool(notice.ORIGINAL_RECIPIENT.search(prose))

    @cached_property
    def _said(self) -> dict[str, notice.Passage]:
        return {passage.recipient.lower(): passage for passage in notice.passages(self._prose)}

    @cached_property
    def _everything(self) -> str:
        return cause.opening(self._prose) if self._all_arrived else cause.concise(self._prose)

    def passage(self, *addresses: str | None) -> notice.Passage | None:
        """What is said of a recipient with one of these addresses."""
        found = next((self._said[name.lower()] for name in addresses if name and name.lower() in self._said), None)
        return next(iter(self._said.values())) if found is None and self._alone and len(self._said) == 1 else found

    def text(self, passage: notice.Passage | None, action: str) -> str:
        """The words for a recipient: none of failure for one whom the mail reached."""
        if passage:
            return passage.text
        return "" if action in _ARRIVED and not self._all_arrived else self._everything


def _reply(block: Block, action: str, human: _Human) -> Reply:
    final = _address(block, "final-recipient", "x-actual-recipient", "original-recipient")
    original = _address(block, "original-recipient") if "original-recipient" in block else None
    text = _TYPE.sub("", block["diagnostic-code"], count=1).strip() if "diagnostic-code" in block else ""
    agreed = action not in _ARRIVED and _AGREEMENT.match(text)  # Sendmail reports the last reply it got, be it that to its QUIT
    wanting = cause.says_nothing(text)
    passage = None
    if agreed or wanting or _BEGINS.match(text) or final is None or (original is None and human.names_originals):
        passage = human.passage(final, original)
        said = human.text(passage, action)
        text = _completed(text, said)
        if agreed:
            text = said or text
        elif wanting:
            text = said if text in said or not _WORD.search(text) else f"{text}\n{said}".strip()
    return Reply(
        text or block.get("action", ""),
        recipient=final or (passage.recipient if passage else None),
        original_recipient=original or (passage.original_recipient if passage else None),
        outcome=action,
        status=_status(block),
        host=_TYPE.sub("", block["remote-mta"], count=1).partition(" ")[0].lower() or None if "remote-mta" in block else None,
    )


# --- events of sending services -----------------------------------------------------------------------------------


def _read_json(prose: str) -> list[Reply]:
    """Read the event of a sending service that stands in a mail, such as an Amazon SES notification."""
    start = prose.find("{")
    if start < 0 or "Type" not in prose[start : start + 2000]:
        return []
    try:
        event, _ = json.JSONDecoder().raw_decode(prose, start)
    except (ValueError, RecursionError):
        return []
    return events.read_event(event) or []
