"""Whether the service lives and is ready, and what it counted."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from bounceml.web import metrics
from bounceml.web.guard import Refused, problems
from bounceml.web.served import Served

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    """That the process answers, or judges rightly."""

    status: str
    model: str


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Is the process alive?")
async def alive(request: Request) -> Health:
    """Answer at once, whatever else is going on."""
    return Health(status="ok", model=request.app.state.served.model)


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Are replies judged rightly?", responses=problems(503))
async def ready(request: Request) -> Health:
    """Let known replies be judged."""
    served: Served = request.app.state.served
    if wrong := served.differing():
        raise Refused(503, "Not ready", "; ".join(wrong))
    return Health(status="ready", model=served.model)


_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Text format of Prometheus"}
}


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response, responses=_TEXT)
def told() -> Response:
    """Return verdicts by category and who decided, requests by route and status, and their time."""
    return Response(metrics.told(), media_type=metrics.CONTENT_TYPE)
