from __future__ import annotations

import asyncio
import base64
import errno
import gzip
import logging
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from test_web_api import FULL, Client, problem, until, upload

from bounceml.classifier import Classifier
from bounceml.web import guard
from bounceml.web.app import create
from bounceml.web.settings import Settings

PATH = "/v1/classify"
ASKED: dict[str, Any] = {"json": {"text": FULL}}


def client(host: str = "127.0.0.1:8025", address: str = "127.0.0.1", **settings: Any) -> Client:
    return Client(create(Settings(**settings)), address, host)


# --- headers ----------------------------------------------------------------------------------------------------


def test_every_answer_has_the_headers() -> None:
    asked = client(max_bytes=100)
    answers = [
        asked.get("/healthz"),
        asked.get("/metrics"),
        asked.get("/openapi.json"),
        asked.get("/no-such-page"),
        asked.post("/healthz"),
        asked.post(PATH, **ASKED),
        asked.post(PATH, **upload(b"552\n", "text/plain")),
        asked.post(PATH, **upload(b"x" * 101, "text/plain")),
        client(token="t").get("/"),
        client("example.com").get("/"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404, 405, 200, 200, 413, 401, 421]
    for answer in answers:
        for name, value in guard.HEADERS.items():
            assert answer.headers[name] == value
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


def test_pages_of_the_framework_are_off() -> None:
    asked = client()
    assert [asked.get(path).status_code for path in ("/docs", "/redoc", "/docs/oauth2-redirect")] == [404] * 3


def test_programs_get_problem_details_and_people_a_page() -> None:
    asked = client("example.com")
    assert "--name" in problem(asked.get("/v1/taxonomy"), 421)
    page = asked.get("/<script>")
    assert (page.status_code, page.headers["content-type"]) == (421, "text/html; charset=utf-8")
    assert "--name" in page.text
    assert "<script>" not in page.text


# --- who may ask ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "localhost:8025", "127.0.0.1:8025", "[::1]:8025", "127.0.0.1"])
def test_a_local_service_answers_to_local_names(host: str) -> None:
    assert client(host).post(PATH, **ASKED).status_code == 200


@pytest.mark.parametrize("host", ["example.com", "example.com:8025", "192.0.2.1", "localhost.example.com", "127.0.0.1.example.com"])
def test_and_to_no_other(host: str) -> None:
    asked = client(host)
    problem(asked.post(PATH, **ASKED), 421)
    assert asked.get("/").status_code == asked.get("/metrics").status_code == 421
    assert asked.get("/healthz").status_code == asked.get("/readyz").status_code == 200  # a probe calls by whatever address it has
    assert Client(create(Settings(host="0.0.0.0")), host=host).post(PATH, **ASKED).status_code == 200
    assert Client(create(Settings(host="0.0.0.0", names=("other.example",))), host=host).post(PATH, **ASKED).status_code == 421
    assert Client(create(Settings(names=(host.partition(":")[0],))), host=host).post(PATH, **ASKED).status_code == 200


@pytest.mark.parametrize(("size", "status"), [(31_000, 200), (34_000, 431)])
def test_headers_have_a_bound(size: int, status: int) -> None:
    for headers in ({"x-one": "x" * size}, {f"x-{number}": "x" * 94 for number in range(size // 100)}):
        assert client().get("/v1/taxonomy", headers=headers).status_code == client().get("/healthz", headers=headers).status_code == status
    assert client().get(f"/v1/taxonomy?x={'x' * size}").status_code == (414 if status == 431 else 200)
    assert client("example.com").post(PATH, **ASKED, headers={"cookie": "x" * size}).status_code == (431 if status == 431 else 421)


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ("", 200),
        ("; charset=utf-8", 200),
        ('; Charset="UTF-8"', 200),
        ("; charset=utf8", 200),
        ("; charset=punycode", 415),
        ("; CHARSET=undefined", 415),
        ('; charset = "unicode_escape"', 415),
        (";charset=utf-8; charset=punycode", 415),
        ("; charset=", 415),
    ],
)
def test_a_form_is_read_as_utf_8(parameters: str, status: int) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.log"\r\n\r\n552 mailbox full\r\n--x--\r\n'
    for kind in ("multipart/form-data", "Multipart/Form-Data "):
        assert client().post(PATH, **upload(body, f"{kind}; boundary=x{parameters}")).status_code == status
    if status == 415:
        problem(client().post("/v1/events/mandrill", **upload(b"a=b", f"application/x-www-form-urlencoded{parameters}")), 415)
        assert client().post("/", **upload(body, f"multipart/form-data; boundary=x{parameters}")).status_code == 415
        assert client().post(PATH, **upload(b"552", f"text/plain{parameters}")).status_code == 200


@pytest.mark.parametrize("host", ["", "[", "a]", "\x7f"])
def test_a_host_that_is_none(host: str) -> None:
    problem(client().post(PATH, **ASKED, headers={"host": host}), 421)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8025"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8025"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://127.0.0.1:8025"}, 200),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"origin": "https://example.com"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_a_page_of_another_origin_sends_nothing(headers: dict[str, str], status: int) -> None:
    asked = client()
    for path, given in ((PATH, ASKED), ("/v1/reload", {})):
        assert asked.post(path, headers=headers, **given).status_code == status
    assert asked.get("/v1/taxonomy", headers=headers).status_code == 200  # it may send who looks at it here


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Bearer",
        "Bearer wrong",
        "Bearer sécret",
        "secret",
        "Basic",
        "Basic ???",
        "Basic c2VjcmV0",
        basic("secret", "wrong"),
        "Digest secret",
    ],
)
def test_without_the_token(shown: str) -> None:
    asked = client(token="secret")
    answer = asked.post(PATH, **ASKED, headers={"authorization": shown.encode()})
    assert "token" in problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/", "/metrics", "/openapi.json", "/no-such-page"):
        assert asked.get(path).headers["www-authenticate"].startswith("Basic ")
    assert asked.get("/healthz").status_code == asked.get("/readyz").status_code == 200


@pytest.mark.parametrize("shown", ["Bearer geheim-密", "bearer geheim-密", basic("", "geheim-密"), basic("joe", "geheim-密")])
def test_with_the_token(shown: str) -> None:
    asked = client(token="geheim-密")
    assert asked.post(PATH, **ASKED, headers={"authorization": shown.encode()}).status_code == 200
    assert asked.get("/metrics", headers={"authorization": shown.encode()}).status_code == 200


def test_a_webhook_that_proves_itself_needs_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNCEML_POSTMARK_USER", "joe")
    monkeypatch.setenv("BOUNCEML_POSTMARK_PASSWORD", "secret")
    asked = client(token="token")
    assert asked.post("/v1/events/postmark", json={}, headers={"authorization": basic("joe", "secret")}).status_code == 422
    assert asked.post("/v1/events/sendgrid", json=[]).headers["www-authenticate"] == "Bearer"


# --- how much ---------------------------------------------------------------------------------------------------


def test_a_body_that_is_too_large() -> None:
    asked = client(max_bytes=1000)
    assert asked.post(PATH, **upload(b"552\n" * 250, "text/plain")).status_code == 200

    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(251):
            yield b"552\n"

    for content in (b"552\n" * 251, in_pieces()):
        assert "1000 bytes" in problem(asked.post(PATH, **upload(content, "text/plain")), 413)  # type: ignore[arg-type]
    assert asked.post(PATH, files={"file": ("a.log", b"552\n" * 251)}).status_code == 413
    assert asked.post("/v1/taxonomy", content=b"x" * 1001).status_code == 413


def guarded(app: Any, **settings: Any) -> tuple[guard.Guard, Client]:
    made = guard.Guard(app, Settings(**settings))
    return made, Client(made)


async def _reads(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def slowly(size: int, go_on: asyncio.Event) -> AsyncIterator[bytes]:
    yield b"x" * size
    await go_on.wait()
    yield b""


def test_many_large_bodies_at_one_time_are_not_held() -> None:
    made, asked = guarded(_reads, max_bytes=100_000)

    async def run() -> tuple[list[httpx.Response], httpx.Response, httpx.Response]:
        go_on = asyncio.Event()
        waiting = [asyncio.create_task(asked.asked("POST", "/v1/x", content=slowly(100_000, go_on))) for _ in range(4)]
        await asyncio.sleep(0.05)
        refused = await asked.asked("POST", "/v1/x", content=b"x" * 70_000)
        small = await asked.asked("POST", "/v1/x", content=b"x" * 60_000)
        go_on.set()
        return await asyncio.gather(*waiting), refused, small

    held, refused, small = asyncio.run(run())
    assert [answer.status_code for answer in [*held, small]] == [200] * 5
    problem(refused, 503)
    assert int(refused.headers["retry-after"]) > 0
    assert made.held == made.working == 0
    assert asked.post("/v1/x", content=b"x").status_code == 200


def test_those_who_take_their_answers_slowly_keep_nobody_from_sending() -> None:
    go_on = asyncio.Event()

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/slow":
            await go_on.wait()
        await send({"type": "http.response.body", "body": b"ok"})

    made, asked = guarded(answers, max_bytes=100_000)

    async def run() -> tuple[int, httpx.Response]:
        waiting = [asyncio.create_task(asked.asked("POST", "/slow", content=b"x" * 100_000)) for _ in range(5)]
        await asyncio.sleep(0.05)
        held, other = made.held, await asked.asked("POST", "/v1/x", content=b"x" * 100_000)
        go_on.set()
        await asyncio.gather(*waiting)
        return held, other

    held, other = asyncio.run(run())
    assert (held, other.status_code) == (0, 200)


def test_bodies_on_their_way_take_no_place_of_those_that_are_there() -> None:
    made, asked = guarded(_reads, concurrency=2)

    async def run() -> tuple[list[httpx.Response], list[httpx.Response]]:
        go_on = asyncio.Event()
        waiting = [asyncio.create_task(asked.asked("POST", "/v1/x", content=slowly(3, go_on))) for _ in range(8)]
        await asyncio.sleep(0.05)
        others = [await asked.asked("GET", "/v1/x"), await asked.asked("POST", "/v1/x", content=b""), await asked.asked("GET", "/metrics")]
        others.append(await asked.asked("POST", "/v1/x", content=b"x"))  # as many bodies as there may be
        go_on.set()
        return await asyncio.gather(*waiting), others

    waited, others = asyncio.run(run())
    assert [answer.status_code for answer in others] == [200, 200, 200, 503]
    assert {answer.status_code for answer in waited} == {200}
    assert made.working == made.held == 0


def test_too_many_requests_at_one_time() -> None:
    go_on = threading.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        while not go_on.is_set() and scope["path"] not in ("/healthz", "/metrics"):
            await asyncio.sleep(0.01)
        await _reads(scope, receive, send)

    _, asked = guarded(waits, concurrency=2)

    async def run() -> list[httpx.Response]:
        two = [asyncio.create_task(asked.asked("GET", "/v1/x")) for _ in range(2)]
        await asyncio.sleep(0.05)
        third, *others = [await asked.asked("GET", path) for path in ("/v1/x", "/healthz", "/metrics")]
        go_on.set()
        return [*await asyncio.gather(*two), third, *others, await asked.asked("GET", "/v1/x")]

    answers = asyncio.run(run())
    assert [answer.status_code for answer in answers] == [200, 200, 503, 200, 200, 200]
    assert "retry-after" in answers[2].headers


# --- how long ---------------------------------------------------------------------------------------------------


def test_a_request_that_takes_too_long() -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    _, asked = guarded(never, timeout=0.05)
    answer = asked.get("/v1/x")
    assert "0.05 seconds" in problem(answer, 503)
    assert answer.headers["retry-after"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def dripping(parts: int, seconds: float) -> AsyncIterator[bytes]:
    for _ in range(parts):
        yield b"552"
        await asyncio.sleep(seconds)


def test_a_body_that_does_not_come_in_time() -> None:
    asked = client(timeout=0.1)
    answer = asked.post(PATH, **upload(dripping(1, 60), "text/plain"))  # type: ignore[arg-type]
    assert "body" in problem(answer, 408)
    assert answer.headers["connection"] == "close"
    assert asked.get("/openapi.json").json()["paths"][PATH]["post"]["responses"].keys() >= {"408", "414", "415", "431"}


def test_each_part_of_a_body_has_its_time_and_the_whole_body_too() -> None:
    _, asked = guarded(_reads, timeout=0.1)
    assert asked.post("/v1/x", content=dripping(6, 0.03)).status_code == 200
    problem(asked.post("/v1/x", content=dripping(60, 0.03)), 408)


def test_a_long_answer_may_take_longer_as_long_as_it_goes_on() -> None:
    async def drips(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10):
            await asyncio.sleep(0.03)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    _, asked = guarded(drips, timeout=0.15)
    assert asked.get("/").text == "x" * 10


@pytest.mark.parametrize(("rate", "allowed"), [(1.0, 2), (5.0, 10), (0.2, 1)])
def test_a_client_that_asks_too_often(rate: float, allowed: int) -> None:
    app = create(Settings(host="0.0.0.0", rate=rate))
    often, other, here = Client(app, "192.0.2.1"), Client(app, "192.0.2.2"), Client(app)
    statuses = [often.get("/v1/taxonomy").status_code for _ in range(allowed + 1)]
    assert statuses == [200] * allowed + [429]
    answer = often.get("/v1/taxonomy")
    assert f"{rate:g} a second" in problem(answer, 429)
    assert int(answer.headers["retry-after"]) >= 1
    assert other.get("/v1/taxonomy").status_code == 200
    assert often.get("/healthz").status_code == 200
    assert {here.get("/v1/taxonomy").status_code for _ in range(20)} == {200}


def test_a_rate_fills_again_and_remembers_a_bounded_number_of_clients() -> None:
    now = 0.0
    rate = guard.Rate(2.0, clock=lambda: now)
    assert [rate.wait("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    now = 0.5
    assert [rate.wait("a"), rate.wait("a")] == [0, 0.5]
    now = 1000.0
    assert [rate.wait("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    for number in range(guard._CLIENTS + 10):
        rate.wait(str(number))
    assert len(rate._buckets) == guard._CLIENTS


# --- what should not happen -------------------------------------------------------------------------------------


def test_our_mistakes_tell_and_log_nothing_of_what_was_sent(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(self: Classifier, reply: Any, explained: bool = False) -> Any:
        raise ValueError(f"cannot cope with {reply.text}")

    asked = client()
    monkeypatch.setattr(Classifier, "find", broken)
    with caplog.at_level(logging.DEBUG):
        answer = asked.post(PATH, json={"text": "secret words"})
    problem(answer, 500)
    assert "secret" not in answer.text + caplog.text
    assert "POST ValueError" in caplog.text
    assert "broken" in caplog.text  # the place


@contextmanager
def served(app: Any) -> Iterator[int]:
    """Serve as ``run`` does, and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            until(lambda: server.started)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


async def _breaks(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
    if scope["path"] == "/late":
        await asyncio.sleep(60)
    raise ValueError("secret")


@pytest.mark.parametrize(("path", "why"), [("late", "TimeoutError"), ("wrong", "ValueError")])
def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(path: str, why: str, caplog: pytest.LogCaptureFixture) -> None:
    with served(guarded(_breaks, timeout=0.1)[0]) as port, pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://127.0.0.1:{port}/{path}")
    assert f"GET: an answer broke off: {why}" in caplog.text
    assert not any(record.exc_info for record in caplog.records)
    assert "secret" not in caplog.text


def test_a_client_that_leaves_during_its_body_is_no_mistake_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    left = threading.Event()

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        try:
            await Request(scope, receive).body()
        finally:
            left.set()

    made, _ = guarded(reads)
    with served(made) as port:
        with socket.create_connection(("127.0.0.1", port)) as asked:
            asked.sendall(b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n552")
            until(lambda: made.held == 3)
        assert left.wait(5)
    assert made.held == made.working == 0
    assert caplog.text == ""


def test_no_room_is_not_the_fault_of_what_was_sent(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    assert "room" in problem(client().post(PATH, **upload(gzip.compress(b"552 mailbox full"), "text/plain")), 503)
    assert "no room" in caplog.text


def test_what_is_not_http_is_no_business_of_ours() -> None:
    async def run() -> None:
        await guard.Guard(_reads, Settings())({"type": "websocket"}, None, None)  # type: ignore[arg-type]

    with pytest.raises(RuntimeError, match="websocket"):
        asyncio.run(run())
