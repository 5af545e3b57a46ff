"""The one wiring of the service."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from bounceml import __version__
from bounceml.errors import BouncemlError
from bounceml.web import answers, api, events, guard, health, pages
from bounceml.web.metrics import Measured
from bounceml.web.served import Served
from bounceml.web.settings import Settings

_THREADS = 4  # that read and judge at one time in a process: more would only wait for each other, and let the health probes wait
_FOLLOWS = 1.0  # seconds after which a worker sees that another took a new model over

_log = logging.getLogger("bounceml.web")


async def _follow(served: Served) -> None:
    """Take over what other worker processes took over, for ever."""
    while True:
        await asyncio.sleep(_FOLLOWS)
        try:
            await to_thread.run_sync(served.follow)
        except (BouncemlError, OSError) as error:
            _log.error("the model that another worker loaded is not taken over yet: %s", error)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = _THREADS
    following = asyncio.create_task(_follow(app.state.served))
    yield
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


class _App(FastAPI):
    """Describes itself with answers of the model that is served."""

    def openapi(self) -> dict[str, Any]:
        """Return the description, which is made when it is first asked for."""
        if self.openapi_schema is None:
            answer = super().openapi()["paths"]["/v1/classify"]["post"]["responses"]["200"]
            answer["content"][answers.JSON]["examples"] = api.answered_examples(self.state.served)
        return super().openapi()


def create(settings: Settings) -> FastAPI:
    """Return the service; its state holds ``served`` (a ``Served``), ``settings`` and the ``checks`` of webhooks.

    Raises
    ------
    BouncemlError
        Where the model, the policy or the rules are not usable, or the environment sets the keys of a webhook by halves.

    """
    app = _App(
        title="bounceml",
        version=__version__,
        summary="Why did this mail bounce (退信), and what should happen next?",
        docs_url=None,  # FastAPI's pages of documentation load scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan,
        responses=guard.problems(401, 403, 408, 413, 414, 415, 421, 429, 431, 500, 503),
    )
    app.state.settings = settings
    app.state.served = Served(settings)
    app.state.checks = events.checks(os.environ)
    for module in (api, events, health, pages):
        app.include_router(module.router)
    app.add_exception_handler(HTTPException, guard.on_refused)
    app.add_exception_handler(RequestValidationError, guard.on_invalid)
    app.add_middleware(guard.Guard, settings=settings, vouched=events.vouched(app.state.checks, os.environ))
    app.add_middleware(Measured)  # the outermost: what is refused counts, too
    return app
