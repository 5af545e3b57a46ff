"""What stands before the routers: host, origin, token, rate, size, time and number of requests, and headers of every answer.

Plain ASGI, without a task or a queue of its own a request: see ``Guard``. What is refused is told as problem details (RFC 9457) to programs
and as a plain page to people.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import hmac
import logging
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bounceml.web.settings import Settings, is_loopback

_log = logging.getLogger("bounceml.web")

# Source: https://owasp.org/www-project-secure-headers/ ; Cache-Control: RFC 9111 section 5.2.2.5, as answers hold what was sent.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PROBES = ("/healthz", "/readyz")  # asked by what has no token, and answered even when the service is busy
_FIGURES = "/metrics"  # answered when the service is busy, too: they tell why
_PROGRAMS = ("/v1/", *_PROBES, _FIGURES)
MULTIPART, FORM = "multipart/form-data", "application/x-www-form-urlencoded"
FORMS = (MULTIPART, FORM)
_HEADERS = 32 * 2**10  # bytes of headers, and of an address: uvicorn takes any number, and other servers 8 to 64 KB
_BODIES = 4  # as many bodies of the largest size are in memory at one time
_SMALL = 64 * 2**10  # bytes of a body that is not refused for the others in memory
_COMING = 4  # times the requests that are worked on is how many bodies may be on their way
_WHOLE = 10  # times the timeout is what a whole body may take
_CLIENTS = 10_000  # clients whose rate is remembered, 2 MB


class Refused(HTTPException):
    """A request that is not answered as asked.

    Parameters
    ----------
    status
        The HTTP status.
    title
        What is wrong, in a few words that are the same each time.
    detail
        What is wrong with this request, and what to do; nothing of its content.
    headers
        Further headers of the answer.

    """

    def __init__(self, status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, detail, headers)
        self.title = title


# --- how it is told ---------------------------------------------------------------------------------------------

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "about:blank: the status tells the kind"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What to do"},
    },
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of these answers for OpenAPI: problem details (RFC 9457 section 3)."""
    content = {"application/problem+json": {"schema": _PROBLEM}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def answer(path: str, refused: HTTPException) -> Response:
    """Return what a client gets that is refused: problem details where programs ask, else a page."""
    status, title = refused.status_code, getattr(refused, "title", HTTPStatus(refused.status_code).phrase)
    detail = str(refused.detail)
    if path.startswith(_PROGRAMS):
        problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        return JSONResponse(problem, status, refused.headers, "application/problem+json")
    page = f'<!doctype html><html lang="en"><title>{escape(title)}</title><h1>{escape(title)}</h1><p>{escape(detail)}</p></html>'
    return HTMLResponse(page, status, refused.headers)


async def on_refused(request: Request, error: Exception) -> Response:
    """Answer a request that a router refused."""
    assert isinstance(error, HTTPException)
    return answer(request.url.path, error)


async def on_invalid(request: Request, error: Exception) -> Response:
    """Answer a request whose parameters are not as documented."""
    assert isinstance(error, RequestValidationError)
    return answer(request.url.path, invalid(error.errors()))


def invalid(errors: Iterable[Any]) -> Refused:
    """Return the refusal of what pydantic finds wrong; it tells the places, and nothing that stood there."""
    told = [f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in errors]
    more = f"; and {len(told) - 5} more" if len(told) > 5 else ""
    return Refused(422, "Not as documented", f"{'; '.join(told[:5])}{more}; /openapi.json tells what is expected")


# --- what may be sent -------------------------------------------------------------------------------------------


def _length(scope: Scope, headers: Headers) -> None:
    """Refuse a longer address (RFC 9110 section 15.5.15) or more headers (RFC 6585 section 5) than a client has reason to send."""
    if len(scope["path"]) + len(scope["query_string"]) > _HEADERS:
        raise Refused(414, "Too long an address", f"an address may have {_HEADERS} bytes; what is long belongs in the body")
    if sum(len(name) + len(value) for name, value in headers.raw) > _HEADERS:
        raise Refused(
            431, "Too many headers", f"a request may have {_HEADERS} bytes of headers; leave out what is not needed, such as cookies"
        )


def body_type(headers: Mapping[str, str]) -> str:
    """Return the media type of a body, without its parameters (RFC 9110 section 8.3.1); empty where none is told."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _charset(headers: Headers) -> None:
    """Refuse a form in another charset than UTF-8 (RFC 7578 section 5.1.2): whatever codec it names would decode the names in it.

    Some of Python's codecs take quadratic time, and others are no encodings of text.
    """
    kind, parameters = parse_options_header(headers.get("content-type"))  # as the reader of forms does
    if kind.decode("latin-1") in FORMS and parameters.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise Refused(415, "Not readable here", "a form is read as UTF-8; leave charset out of Content-Type")


# --- who may ask ------------------------------------------------------------------------------------------------


def _host(settings: Settings, headers: Headers) -> None:
    """Refuse a foreign ``Host``: a page elsewhere may let its own name lead to this machine (DNS rebinding).

    Source: https://github.com/nccgroup/singularity/wiki/Preventing-DNS-Rebinding-Attacks ; 421: RFC 9110 section 15.5.20.
    """
    if not (settings.names or settings.on_loopback):
        return
    given = headers.get("host", "")
    try:
        name = urlsplit(f"//{given}").hostname or ""
    except ValueError:
        name = ""
    if not (is_loopback(name) or name in settings.names):
        raise Refused(421, "Not called so", "this service is not called by the name in Host; start it with --name NAME to add one")


def _origin(scope: Scope, headers: Headers) -> None:
    """Refuse what a page of another origin sends, as it may not act for the one who looks at it.

    Source: https://web.dev/articles/fetch-metadata and RFC 6454 section 7. What is no browser sends neither header.
    """
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return
    site = headers.get("sec-fetch-site")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        origin = headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2] != headers.get("host")
    if foreign:
        raise Refused(403, "From another page", "a page of another origin sent this; a reverse proxy has to pass on the Host header")


def _shown(authorization: str) -> bytes | None:
    """Return the token of an ``Authorization`` header: Bearer (RFC 6750 section 2.1), or the password of Basic (RFC 7617 section 2)."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1")  # as which headers are decoded
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return None
    return None


def _token(settings: Settings, scope: Scope, headers: Headers) -> None:
    """Refuse who does not show the token, where there is one."""
    if settings.token is None:
        return
    shown = _shown(headers.get("authorization", ""))
    if shown is None or not hmac.compare_digest(shown, settings.token.encode()):
        challenge = "Bearer" if scope["path"].startswith("/v1/") else 'Basic realm="bounceml", charset="UTF-8"'
        detail = "show the token: Authorization: Bearer TOKEN, or in a browser as the password, with any user name"
        raise Refused(401, "Token needed", detail, {"WWW-Authenticate": challenge})


class Rate:
    """A bucket of tokens for each client, the most recent ones: it fills with ``rate`` tokens a second and holds those of two seconds.

    Examples
    --------
    >>> rate = Rate(1.0, clock=lambda: 0.0)
    >>> [rate.wait("192.0.2.1") for _ in range(3)]
    [0.0, 0.0, 1.0]

    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Return the seconds until the client may ask; 0 takes a token."""
        now, full = self._clock(), max(1.0, 2 * self._rate)
        left, since = self._buckets.pop(client, (full, now))
        left = min(full, left + (now - since) * self._rate)
        waits = max(0.0, (1.0 - left) / self._rate)
        self._buckets[client] = (left if waits else left - 1.0, now)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        return waits


# --- how much, how long -----------------------------------------------------------------------------------------


class _Body:
    """The body of a request as it comes, counted; once all of it is there, the request takes a place among those that are worked on.

    Parameters
    ----------
    receive
        Where it comes from.
    guard
        Whose counts it moves.
    deadline
        When the request is given up; each part of the body puts it off.
    coming
        Whether there is a body, by the headers (RFC 9112 section 6.3).

    """

    def __init__(self, receive: Receive, guard: Guard, deadline: asyncio.Timeout, coming: bool) -> None:
        self._receive = receive
        self._guard = guard
        self._deadline = deadline
        self._latest = asyncio.get_running_loop().time() + _WHOLE * guard.settings.timeout
        self._size = self._held = 0
        self._works = False
        self.coming = coming
        self.waited_for = False

    async def receive(self) -> Message:
        self.waited_for = self.coming
        message = await self._receive()
        self.waited_for = False
        if self.coming and message["type"] == "http.request":
            self._add(len(message.get("body", b"")))
            self.coming = message.get("more_body", False)
            soon = asyncio.get_running_loop().time() + self._guard.settings.timeout
            self._deadline.reschedule(min(soon, self._latest) if self.coming else soon)
            if not self.coming:
                self.work()
        return message

    def _add(self, size: int) -> None:
        self._size += size
        self._held += size
        self._guard.held += size
        self._guard.see_size(self._size)
        if self._size > _SMALL and self._guard.held > _BODIES * self._guard.settings.max_bytes:
            raise _busy("too much was sent at one time")

    def work(self) -> None:
        """Take the place; there may be none."""
        if self._guard.working >= self._guard.settings.concurrency:
            raise _busy(f"{self._guard.working} requests are being answered")
        self._guard.working += 1
        self._works = True

    def release(self) -> None:
        """Hold its bytes no longer: it has been read, and a client that takes the answer slowly keeps no other from sending."""
        self._guard.held -= self._held
        self._held = 0

    def close(self) -> None:
        """Give all back."""
        self.release()
        self._guard.working -= self._works


def _busy(why: str) -> Refused:
    return Refused(503, "Busy", f"{why}; try again in a few seconds", {"Retry-After": "2"})


class Guard:
    """Lets requests through that may be answered, and sees that they end.

    Parameters
    ----------
    app
        What answers.
    settings
        What the one who runs the service decides.
    vouched
        Paths whose requests prove in another way that they may be answered.

    """

    def __init__(self, app: ASGIApp, settings: Settings, vouched: Container[str] = ()) -> None:
        self._app = app
        self._vouched = vouched
        self.settings = settings
        self._rate = Rate(settings.rate) if settings.rate else None
        self._open = 0  # requests under way
        self.working = 0  # those of them whose body is there
        self.held = 0  # bytes of bodies in memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"nothing here speaks {scope['type']}")
        begun = False
        headers = Headers(scope=scope)
        deadline = asyncio.timeout(self.settings.timeout)
        coming = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        body = _Body(receive, self, deadline, coming)

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                body.release()
                told = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    told.setdefault(name, value)
            await send(message)

        async def in_time(message: Message) -> None:
            deadline.reschedule(asyncio.get_running_loop().time() + self.settings.timeout)
            await with_headers(message)

        try:
            async with deadline:
                await self._answered(scope, headers, body, in_time)
            return
        except ClientDisconnect:
            return
        except Exception as error:
            refused, why = self._refusal(scope, error, body), type(error).__name__
        finally:
            body.close()
        if begun:  # the server closes the connection, as the answer has no end
            _log.error("%s: an answer broke off: %s", scope["method"], why)
            return
        await answer(scope["path"], refused)(scope, receive, with_headers)

    def _refusal(self, scope: Scope, error: Exception, body: _Body) -> HTTPException:
        """Return what is told of an error."""
        if isinstance(error, HTTPException):
            return error
        if isinstance(error, TimeoutError):
            if body.waited_for:  # RFC 9110 section 15.5.9
                return Refused(
                    408, "Too slow", "the body did not come in time; send it again, in parts if need be", {"Connection": "close"}
                )
            return _busy(f"this took more than {self.settings.timeout:g} seconds")
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _log.error("%s: no room in the folder of temporary files", scope["method"])
            return _busy("there is no room for what was sent")
        _log.error("%s %s: %s", scope["method"], type(error).__name__, _places(error))
        return Refused(500, "Our mistake", "an error that should not happen; please report it, with the reply if you may")

    async def _answered(self, scope: Scope, headers: Headers, body: _Body, send: Send) -> None:
        _length(scope, headers)
        if scope["path"] in _PROBES:  # by whatever name or address
            await self._app(scope, body.receive, send)
            return
        _host(self.settings, headers)
        _origin(scope, headers)
        if scope["path"] not in self._vouched:
            _token(self.settings, scope, headers)
        self._see_rate(scope)
        length = headers.get("content-length", "")
        if length.isdecimal():
            self.see_size(int(length))
        _charset(headers)
        if scope["path"] == _FIGURES:
            await self._app(scope, body.receive, send)
            return
        if not body.coming:
            body.work()
        elif self._open - self.working >= _COMING * self.settings.concurrency:
            raise _busy("many bodies are on their way")
        self._open += 1
        try:
            await self._app(scope, body.receive, send)
        finally:
            self._open -= 1

    def _see_rate(self, scope: Scope) -> None:
        client = scope["client"][0] if scope.get("client") else ""
        if self._rate and not is_loopback(client) and (waits := self._rate.wait(client)):
            after = str(max(1, round(waits)))
            raise Refused(
                429,
                "Too many requests",
                f"more than {self.settings.rate:g} a second; send many replies in one request",
                {"Retry-After": after},
            )

    def see_size(self, size: int) -> None:
        """Refuse a body that is too large."""
        if size > self.settings.max_bytes:
            raise Refused(413, "Too large", f"a request may have {self.settings.max_bytes} bytes; send it in parts")


def _places(error: BaseException) -> str:
    """Where an error arose, without its text, which may hold what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames[-12:]))
