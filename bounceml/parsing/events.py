"""Events of mail services (webhooks, JSON logs) to replies.

A service is data: a row of ``tables/events.toml`` says by which fields its events are known and where the reply, the
recipient and the outcome stand. This module interprets the rows. The value is in reading the server's reply again:
what the service made of it ("soft bounce") is used only where there is no reply.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

from bounceml.errors import DataError
from bounceml.parsing import times
from bounceml.tables import compiled
from bounceml.values import Reply

OUTCOMES = ("failed", "delayed", "expired", "delivered", "relayed", "expanded", "not_a_bounce", "unknown", "none", "by_code")
_MAX_BYTES = 100_000_000  # of one JSON text
_MAX_DEPTH = 6  # SES in SNS in SQS in Lambda is four deep


class Source(NamedTuple):
    """One kind of event; the fields are those of ``tables/events.toml``, whose head explains them."""

    id: str
    source: str
    needs: tuple[str, ...]
    kind: tuple[str, ...]
    outcome: dict[str, str]
    text: tuple[str, ...]
    recipient: tuple[str, ...]
    each: str = ""
    description: tuple[str, ...] = ()
    code: str = ""
    status: str = ""
    original_recipient: str = ""
    event_id: str = ""
    time: str = ""


class Wrapper(NamedTuple):
    """An envelope around events, and the path to what is in it."""

    id: str
    source: str
    needs: tuple[str, ...]
    path: str


@cache
def sources() -> tuple[tuple[Wrapper, ...], tuple[Source, ...]]:
    """Return the wrappers and sources in the order of their file: the first that fits an event reads it.

    Raises
    ------
    DataError
        Where a row lacks a field, has one that does not exist, or maps to an outcome that does not exist.

    """
    data = compiled.read("events")
    try:
        wrappers = tuple(Wrapper(**_tuples(row)) for row in data["wrapper"])
        known = tuple(Source(**_tuples(row)) for row in data["event"])
    except TypeError as error:
        raise DataError(f"events.toml: {error}") from error
    for source in known:
        if wrong := set(source.outcome.values()) - set(OUTCOMES):
            raise DataError(f"events.toml, {source.id}: {', '.join(sorted(wrong))} is no outcome")
    return wrappers, known


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


# --- paths ------------------------------------------------------------------------------------------------------


def find(node: object, path: str) -> list[Any]:
    """Return what stands at a dotted path; ``[]`` takes each item of an array, ``[-1]`` its last.

    >>> find({"msg": {"tries": [{"diag": "450 a"}, {"diag": "550 b"}]}}, "msg.tries[].diag")
    ['450 a', '550 b']
    """
    nodes = [node]
    for name, array in _steps(path):
        nodes = [found[name] for found in nodes if isinstance(found, dict) and found.get(name) is not None]
        if array:
            arrays = [found for found in nodes if isinstance(found, list)]
            nodes = [item for found in arrays for item in (found if array == "]" else found[-1:])]
    return nodes


@cache
def _steps(path: str) -> tuple[tuple[str, str], ...]:
    """The names of a path, each with what stands behind its bracket."""
    return tuple((name, array) for name, _, array in (step.partition("[") for step in path.split(".")))


@cache
def _first_names() -> frozenset[str]:
    """Of each row the first name it needs: a table's row that has none of them is told in half a microsecond."""
    wrappers, known = sources()
    needs = [row.needs for row in wrappers] + [row.needs for row in known]
    return frozenset(_steps(paths[0])[0][0] for paths in needs)


def _fits(row: Source | Wrapper, event: dict[str, Any]) -> bool:
    """Say whether all that a row needs is there; most rows fail by the first name already."""
    return all(_steps(path)[0][0] in event for path in row.needs) and all(find(event, path) for path in row.needs)


def _words(values: Iterable[object]) -> str:
    """What is found at a path as one text; the lines of a reply may be an array."""
    lines: list[str] = []
    for value in values:
        items = value if isinstance(value, list) else [value]
        lines += [str(item).strip() for item in items if isinstance(item, (str, int, float)) and not isinstance(item, bool)]
    return "\n".join(filter(None, lines))


class _Event(NamedTuple):
    """An event and the one of its items that a reply is read from; a path that begins with "@." starts at the item."""

    whole: object
    item: object

    def at(self, path: str) -> list[Any]:
        if not path:
            return []
        return find(self.item, path[2:]) if path.startswith("@.") else find(self.whole, path)

    def first(self, paths: Iterable[str]) -> str:
        return next(filter(None, (_words(self.at(path)) for path in paths)), "")


# --- one event --------------------------------------------------------------------------------------------------


def read_event(event: object) -> list[Reply] | None:
    """Return the replies in an event, or in an array of events.

    Parameters
    ----------
    event
        A decoded JSON value.

    Returns
    -------
    list[Reply] | None
        One reply per recipient; empty where the event reports no result of a delivery (an opened mail, a click); None
        where no service is known that sends such events.

    Examples
    --------
    >>> read_event({"event": "bounce", "email": "joe@example.com", "sg_event_id": "x", "reason": "550 5.1.1 No such user"})[0].outcome
    'failed'

    """
    return _read(event, 0)


def _read(event: object, depth: int) -> list[Reply] | None:
    if depth > _MAX_DEPTH:
        return None
    if isinstance(event, list):
        found = [_read(item, depth + 1) for item in event]
        if all(replies is None for replies in found):
            return None
        unknown = [Reply("", error="an array item that is no event of a known service")]
        return [reply for replies in found for reply in (unknown if replies is None else replies)]
    if not isinstance(event, dict) or event.keys().isdisjoint(_first_names()):
        return None
    wrappers, known = sources()
    for source in known:
        if _fits(source, event):
            return list(_replies(source, event))
    for wrapper in wrappers:
        if _fits(wrapper, event) and (replies := _unwrapped(event, wrapper.path, depth)) is not None:
            return replies
    return None


def _unwrapped(event: object, path: str, depth: int) -> list[Reply] | None:
    inner = [_decoded(value) for value in find(event, path)]
    return _read(inner[0] if len(inner) == 1 else inner, depth + 1) if inner else None


def _decoded(value: object) -> object:
    """SNS and SQS carry an event as a string of JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _replies(source: Source, whole: dict[str, Any]) -> Iterator[Reply]:
    for item in find(whole, source.each) if source.each else [whole]:
        event = _Event(whole, item)
        kinds = [str(value).lower() for path in source.kind for value in event.at(path) if not isinstance(value, (dict, list))]
        described = " ".join(filter(None, (_words(event.at(path)) for path in source.description)))
        said, status = _TYPE.sub("", event.first(source.text), count=1), _status(event.at(source.status))
        text = _text(said, _words(event.at(source.code)), status) if said else described or " ".join(kinds)
        outcome = _outcome(source.outcome, kinds)
        if outcome == "by_code":
            outcome = {"2": "delivered", "4": "delayed", "5": "failed"}.get(text[:1], "unknown")
        if outcome == "none" or (outcome == "unknown" and not said):
            continue
        reply = Reply(
            text,
            id=_words(event.at(source.event_id)) or None,
            original_recipient=next(iter(_addresses(event.at(source.original_recipient))), None),
            outcome=outcome,
            status=status,
            time=next(map(times.iso, event.at(source.time)), None),
        )
        named: list[str] = next(filter(None, (_addresses(event.at(path)) for path in source.recipient)), [])
        yield from (reply._replace(recipient=address) for address in named)
        if not named:
            yield reply


def _outcome(outcomes: dict[str, str], kinds: list[str]) -> str:
    """Return the outcome of the longest run of kinds that the map has ("failed temporary old", then "failed temporary", …)."""
    for length in range(len(kinds), 0, -1):
        if found := outcomes.get(" ".join(kinds[:length])):
            return found
    return outcomes.get("*", "unknown")


# A delivery report's type before the reply: "smtp; 550 …" (RFC 3464 section 2.3.6).
_TYPE = re.compile(r"\s*(?:smtp|x-[\w.-]{1,40})\s*;\s*", re.IGNORECASE)
_CODE = re.compile(r"[245][0-5]\d")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_HAS_CODE = re.compile(r".{0,200}?(?<![\d.])[245][0-5]\d[ -]", re.DOTALL)


def _text(said: str, code: str, status: str | None) -> str:
    """Return a reply with the codes that some services keep in fields of their own; a code of the service is none (605)."""
    if not _CODE.fullmatch(code) or _HAS_CODE.match(said):
        return said
    return f"{code} {said}" if status is None or _STATUS.search(said[:200]) else f"{code} {status} {said}"


def _status(values: list[Any]) -> str | None:
    """Return an enhanced status code, given as text, as three numbers or as {class, subject, detail}."""
    for value in values:
        parts = [value.get(name) for name in ("class", "subject", "detail")] if isinstance(value, dict) else value
        found = _STATUS.search(".".join(map(str, parts)) if isinstance(parts, list) else str(parts))
        if found:
            return found[0]
    return None


def _addresses(values: list[Any]) -> list[str]:
    """The mail addresses in what is found: texts, arrays of them, or {localpart, domain}."""
    found: list[str] = []
    for value in (item for each in values for item in (each if isinstance(each, list) else [each])):
        if isinstance(value, dict):
            value = "@".join(str(value[name]) for name in ("localpart", "domain") if value.get(name))
        if isinstance(value, str) and value.strip():
            bracketed = re.search(r"<([^<>]{1,400})>", value)
            found.append((bracketed[1] if bracketed else value).strip())
    return found


# --- files ------------------------------------------------------------------------------------------------------

_FORM_FIELD = b"mandrill_events="


def recognise(head: bytes) -> bool:
    """Return whether bytes begin a JSON text of events: an array, a spread object, or a line that ``read_event`` knows.

    >>> recognise(b'[{"event": "open"'), recognise(b'{"text": "550 no"}')
    (True, False)
    """
    head = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(_FORM_FIELD) or re.match(rb"\[\s*\{", head):
        return True
    if not head.startswith(b"{"):
        return False
    first, ended, _ = head.partition(b"\n")
    try:
        return read_event(json.loads(first)) is not None
    except (ValueError, RecursionError):
        return bool(ended) and len(first) < 3  # "{" alone on its line


def read_events(file: BinaryIO, source: str | None, _column: str | None = None) -> Iterator[Reply]:
    """Yield the replies of events: one JSON text a line, or one spread over the lines of the file."""
    lines = iter(lambda: file.readline(_MAX_BYTES + 1), b"")
    first = next(lines, b"")
    rest = b""
    if _parsed(first)[1]:  # a text spread over the lines, or a broken line, and then the others are read all the same
        rest = file.read(max(0, _MAX_BYTES - len(first)))
        rest += file.readline(_MAX_BYTES) if len(first) + len(rest) >= _MAX_BYTES else b""
        whole, error = _parsed(first + rest)
        if error is None:
            yield from _placed(read_event(whole), f"{source}:1" if source else None)
            return
    for number, line in enumerate(chain([first], io.BytesIO(rest), lines), 1):
        if line.strip():
            place = f"{source}:{number}" if source else None
            event, error = _parsed(line)
            broken = [Reply("", source=place, error=f"{place or f'line {number}'}: {error}")]
            yield from broken if error else _placed(read_event(event), place)


def _parsed(raw: bytes) -> tuple[object, str | None]:
    """Return a JSON value, or why there is none."""
    if len(raw) > _MAX_BYTES:
        return None, f"a JSON text of more than {_MAX_BYTES} bytes; write one event a line"
    if raw.startswith(_FORM_FIELD):  # Mandrill posts a form with one field
        from urllib.parse import unquote_to_bytes

        raw = unquote_to_bytes(raw.removeprefix(_FORM_FIELD).replace(b"+", b" "))
    try:
        return json.loads(raw.decode("utf-8-sig", "replace")), None
    except (ValueError, RecursionError) as error:
        return None, f"not readable as JSON ({error})"


def _placed(replies: list[Reply] | None, place: str | None) -> Iterator[Reply]:
    if replies is None:
        yield Reply("", source=place, error=f"{place or 'a line'}: no event of a known service; name the field of the reply with --column")
    for reply in replies or []:
        yield reply._replace(source=place, error=f"{place or 'a line'}: {reply.error}" if reply.error else None)
