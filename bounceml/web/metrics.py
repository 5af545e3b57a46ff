"""What the service counts, for Prometheus: verdicts, requests and how long they took; no label holds anything that a client sent.

Several worker processes write to files that each of them can sum up, in the folder that PROMETHEUS_MULTIPROC_DIR names; ``run`` sets it
before this module is imported.
Source: https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, MutableMapping
from functools import cache
from time import perf_counter
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, multiprocess
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bounceml.values import Finding

_REGISTRY = CollectorRegistry()
_VERDICTS = prometheus_client.Counter(
    "bounceml_verdicts", "Verdicts by category and who decided", ("category", "decided_by"), registry=_REGISTRY
)
_REQUESTS = prometheus_client.Counter("bounceml_requests", "Requests by route and status", ("route", "status"), registry=_REGISTRY)
_SECONDS = prometheus_client.Histogram(
    "bounceml_request_seconds",
    "Seconds from a request to the end of its answer, by route",
    ("route",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=_REGISTRY,
)
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST

# Looking a label up takes longer than counting; there are a few hundred combinations.
_verdicts = cache(_VERDICTS.labels)
_requests = cache(_REQUESTS.labels)
_seconds = cache(_SECONDS.labels)


def count(findings: Iterable[Finding]) -> None:
    """Count verdicts that are answered."""
    for labels, number in Counter((found.shared.category, found.shared.decided_by) for found in findings).items():
        _verdicts(*labels).inc(number)


def told() -> bytes:
    """Return all that was counted, by all worker processes, in the text format of Prometheus."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return prometheus_client.generate_latest(_REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return prometheus_client.generate_latest(registry)


def _route(scope: MutableMapping[str, Any]) -> str:
    """The template of the route that a request came to; what came to none, or was refused before, is "none"."""
    return getattr(scope.get("route"), "path", "none")


class Measured:
    """Counts requests and their time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = perf_counter(), 0  # 0: the client left before the answer began

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            route = _route(scope)
            _requests(route, status).inc()
            _seconds(route).observe(perf_counter() - begin)
