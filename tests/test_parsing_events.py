"""Events of mail services to replies: the events of ``logs/events.jsonl``, any JSON at all, and the forms of files."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounceml.parsing import events
from bounceml.values import Reply

CASES = [json.loads(line) for line in (Path(__file__).parent / "logs" / "events.jsonl").read_text(encoding="utf-8").splitlines()]
NAMES = [case["name"] for case in CASES]


def as_row(reply: Reply) -> dict[str, Any]:
    row: dict[str, Any] = {"text": reply.text, "recipient": reply.recipient, "outcome": reply.outcome}
    return row | {name: value for name in ("status", "id") if (value := getattr(reply, name))}


def read_file(raw: bytes) -> list[Reply]:
    return list(events.read_events(io.BytesIO(raw), "x.json", None))


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_event(case: dict[str, Any]) -> None:
    replies = events.read_event(case["event"])
    assert replies is not None
    assert [as_row(reply) for reply in replies] == case["expected"]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
@pytest.mark.parametrize("indent", [None, 2])
def test_event_in_a_file(case: dict[str, Any], indent: int | None) -> None:
    raw = json.dumps(case["event"], indent=indent).encode()
    replies = read_file(raw)
    assert [as_row(reply) for reply in replies] == case["expected"]
    assert {reply.source for reply in replies} <= {"x.json:1"}
    assert events.recognise(raw)


def test_every_source_and_wrapper_names_its_page() -> None:
    wrappers, known = events.sources()
    assert all("https://" in row.source for row in (*wrappers, *known))
    for rows in (wrappers, known):
        assert len({row.id for row in rows}) == len(rows)


@pytest.mark.parametrize(
    "row", [{"text": "550 no such user"}, {"id": "1", "reply": "x", "recipient": "a@example.com"}, {}, [], 7, None, "550"]
)
def test_other_json_is_no_event(row: object) -> None:
    assert events.read_event(row) is None
    assert not events.recognise(json.dumps(row).encode())


def test_lines_of_events_a_broken_one_among_them() -> None:
    lines = [json.dumps(case["event"]) for case in CASES if case["name"] in ("ses-bounce", "postmark")]
    replies = read_file("\n".join([lines[0], "{oops", "", '{"a": 1}', lines[1]]).encode())
    assert [(reply.source, bool(reply.error)) for reply in replies] == [
        ("x.json:1", False),
        ("x.json:1", False),
        ("x.json:2", True),
        ("x.json:4", True),
        ("x.json:5", False),
    ]


def test_a_broken_first_line_does_not_cost_the_others() -> None:
    good = json.dumps(CASES[0]["event"]).encode()
    replies = read_file(b'{"cut": \n' + good + b"\n" + good + b"\n")
    assert [bool(reply.error) for reply in replies] == [True, False, False, False, False]


def test_an_unknown_item_of_an_array_is_told() -> None:
    replies = events.read_event([CASES[0]["event"], {"what": "is this"}]) or []
    assert [bool(reply.error) for reply in replies] == [False, False, True]


def test_form_of_mandrill() -> None:
    case = next(case for case in CASES if case["name"] == "mandrill")
    raw = b"mandrill_events=" + quote_plus(json.dumps(case["event"])).encode()
    assert events.recognise(raw)
    assert [as_row(reply) for reply in read_file(raw)] == case["expected"]


def test_a_code_that_a_service_made_up_is_not_put_before_its_words() -> None:
    case = next(case for case in CASES if case["name"] == "mailgun-suppressed")
    assert "605" not in (events.read_event(case["event"]) or [])[0].text


# --- hostile ----------------------------------------------------------------------------------------------------

KEYS = sorted(
    {
        step.partition("[")[0]
        for source in events.sources()[1]
        for path in (*source.needs, *source.text, *source.recipient)
        for step in path.split(".")
    }
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(["Bounce", "failed", "550 5.1.1 no"])
)
JSON = st.recursive(
    st.one_of(SCALARS, st.sampled_from([case["event"] for case in CASES])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)),
    max_leaves=25,
)


def damaged(event: object, junk: object, at: int) -> object:
    """The event with one of its values, counted in depth-first order, replaced."""
    if at == 0:
        return junk
    if isinstance(event, dict):
        return {key: damaged(value, junk, at - 1 - number) for number, (key, value) in enumerate(event.items())}
    return [damaged(item, junk, at - 1 - number) for number, item in enumerate(event)] if isinstance(event, list) else event


@settings(max_examples=400, deadline=None)
@given(JSON)
def test_any_json_is_read(event: object) -> None:
    for reply in events.read_event(event) or []:
        assert isinstance(reply.text, str)
        assert reply.recipient is None or isinstance(reply.recipient, str)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(CASES), JSON, st.integers(0, 12))
def test_damaged_events_are_read(case: dict[str, Any], junk: object, at: int) -> None:
    for reply in events.read_event(damaged(case["event"], junk, at)) or []:
        assert isinstance(reply.text, str)
        assert reply.outcome in events.OUTCOMES


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read(raw: bytes) -> None:
    events.recognise(raw)
    assert all(isinstance(reply.text, str) for reply in read_file(raw))


@pytest.mark.parametrize(
    "raw", [b"[" * 3_000_000, b'{"Message": ' * 300_000, b'{"Message": "{' * 200_000, b"[{}," * 500_000, b"{\n" * 1_000]
)
def test_deep_json_is_an_error_in_little_time(raw: bytes) -> None:
    begin = time.perf_counter()
    assert any(reply.error for reply in read_file(raw))
    assert time.perf_counter() - begin < 2


def test_sns_inside_sns_without_end() -> None:
    event: object = CASES[0]["event"]
    for _ in range(12):
        event = {"Message": json.dumps(event)}
    assert events.read_event(event) is None


def test_many_events_in_little_time() -> None:
    raw = (json.dumps(next(case["event"] for case in CASES if case["name"] == "kumomta")).encode() + b"\n") * 20_000
    begin = time.perf_counter()
    assert len(read_file(raw)) == 40_000
    assert time.perf_counter() - begin < 4  # 1 s measured
