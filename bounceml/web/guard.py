"""What stands before the routers: host, origin, token, rate, size, time and number of requests, and headers of every answer.

Plain ASGI, without a task or a queue of its own a request: see ``Guard``. What is refused is told as problem details (RFC 9457) to programs
and as a plain page to people.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
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
_PROGRAMS = ("/v1/", *_PROBES, "/metrics")
_BODIES = 4  # as many bodies of the largest size are in memory at one time
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


# --- who may ask ------------------------------------------------------------------------------------------------


def _host(settings: Settings, scope: Scope, headers: Headers) -> None:
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


def _origin(settings: Settings, scope: Scope, headers: Headers) -> None:
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
    """The body of a request as it comes, counted."""

    def __init__(self, receive: Receive, guard: Guard) -> None:
        self._receive = receive
        self._guard = guard
        self.size = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.add(len(message.get("body", b"")))
        return message

    def add(self, size: int) -> None:
        self.size += size
        self._guard.held += size
        self._guard.see_size(self.size)
        if self._guard.held > _BODIES * self._guard.settings.max_bytes:
            raise _busy("too much was sent at one time")


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
        self._working = 0
        self.held = 0  # bytes of bodies in memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"nothing here speaks {scope['type']}")
        begun = False
        deadline = asyncio.timeout(self.settings.timeout)

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        async def in_time(message: Message) -> None:
            deadline.reschedule(asyncio.get_running_loop().time() + self.settings.timeout)
            await with_headers(message)

        try:
            async with deadline:
                await self._answered(scope, receive, in_time)
            return
        except HTTPException as error:
            refused: HTTPException = error
        except TimeoutError:
            refused = _busy(f"this took more than {self.settings.timeout:g} seconds")
        except Exception as error:
            _log.error("%s %s: %s", scope["method"], type(error).__name__, _places(error))
            refused = Refused(500, "Our mistake", "an error that should not happen; please report it, with the reply if you may")
        if begun:
            raise RuntimeError("an answer broke off") from None
        await answer(scope["path"], refused)(scope, receive, with_headers)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        _host(self.settings, scope, headers)
        if scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        _origin(self.settings, scope, headers)
        if scope["path"] not in self._vouched:
            _token(self.settings, scope, headers)
        self._see_rate(scope)
        length = headers.get("content-length", "")
        if length.isdecimal():
            self.see_size(int(length))
        if self._working >= self.settings.concurrency:
            raise _busy(f"{self._working} requests are being answered")
        body = _Body(receive, self)
        self._working += 1
        try:
            await self._app(scope, body.receive, send)
        finally:
            self._working -= 1
            self.held -= body.size

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
