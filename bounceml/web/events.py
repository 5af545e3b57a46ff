"""POST /v1/events/ID: the webhooks of sending services, answered with verdicts.

The services are rows of ``services.toml``; how their events are read is in ``tables/events.toml``. Nothing is stored, and the
answer goes to whoever posted. So a service without a key in the environment is answered, too; where there is one, what does not
prove that it comes from there is refused (see ``signatures`` and ``sns``).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import fastapi
from fastapi.concurrency import run_in_threadpool

from bounceml.classifier import Classifier
from bounceml.errors import UsageError
from bounceml.parsing.events import read_event
from bounceml.values import Reply
from bounceml.web import answers, signatures, sns
from bounceml.web.api import Answer, Audience, Lang
from bounceml.web.delivery import Delivery
from bounceml.web.guard import FORM, Refused, problems
from bounceml.web.signatures import Check
from bounceml.writers import jsonl

router = fastapi.APIRouter(tags=["events"])


class Service(NamedTuple):
    """A row of ``services.toml``, whose head explains the fields."""

    id: str
    name: str
    page: str
    content: str
    example: str
    checked: str = ""
    settings: tuple[str, ...] = ()
    ping: str = ""


@cache
def services() -> tuple[Service, ...]:
    """Return the services whose webhooks are read."""
    rows = tomllib.loads(Path(__file__).with_name("services.toml").read_text(encoding="utf-8"))["service"]
    return tuple(Service(**{**row, "settings": tuple(row.get("settings", ())), "example": row["example"].strip()}) for row in rows)


def checks(environ: Mapping[str, str], fetch: sns.Fetch = sns.fetch) -> dict[str, Check]:
    """Return how a service's requests are checked, by the service's id, for those whose settings are in the environment.

    Parameters
    ----------
    environ
        The environment, such as ``os.environ``.
    fetch
        As in ``sns.Topics``, whose check is always there: it confirms no subscription unless it knows the topic.

    Raises
    ------
    UsageError
        Where a setting cannot be used, or one that belongs to it is missing.

    """
    makers: dict[str, Callable[..., Check]] = {
        "sendgrid": signatures.sendgrid,
        "mailgun": signatures.mailgun,
        "mandrill": signatures.mandrill,
        "postmark": signatures.basic,
        "sparkpost": signatures.basic,
    }
    topics = environ.get("BOUNCEML_SNS_TOPICS", "")
    arns = frozenset(topics.replace(",", " ").split())
    if topics and not arns:
        raise UsageError("BOUNCEML_SNS_TOPICS names no topic; give names such as arn:aws:sns:eu-west-1:123456789012:bounces, or unset it")
    found: dict[str, Check] = {"ses": sns.Topics(arns, fetch)}
    for service in services():
        values = [environ.get(name, "") for name in service.settings]
        if service.id not in makers or not any(values):
            continue
        if not all(values):
            raise UsageError(f"{' and '.join(service.settings)} belong together; set all of them, or none")
        found[service.id] = makers[service.id](*values)
    return found


def vouched(checks: Mapping[str, Check], environ: Mapping[str, str]) -> frozenset[str]:
    """Return the paths whose requests prove where they come from, so that they need not show the token of this service, too."""
    settings = {service.id: service.settings for service in services()}
    return frozenset(f"/v1/events/{name}" for name in checks if all(map(environ.get, settings[name])))


def _replies(service: Service, body: Any, most: int) -> list[Reply]:
    found = read_event(body)
    if found is None:
        if _is_ping(service, body):
            return []
        raise Refused(422, "No event", f"The body holds no event of a known service; see {service.page} for those of {service.name}.")
    if len(found) > most:
        raise Refused(413, "Too many recipients", f"The events name more than {most} recipients; post fewer at a time.")
    return found


def _is_ping(service: Service, body: Any) -> bool:
    """Say whether this is what the service posts on setup; SNS carries such a message of SES as plain words."""
    if isinstance(body, dict) and body.get("Type") in ("Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"):
        return service.id == "ses"
    return bool(service.ping) and body == json.loads(service.ping)


def _answer(classifier: Classifier, replies: list[Reply]) -> bytes:
    encoded = answers.counting(jsonl.encode)([classifier.find(reply) for reply in replies])
    return b"".join(answers.as_object([encoded]))


# --- routes -----------------------------------------------------------------------------------------------------


def _receiver(service: Service) -> Callable[..., Any]:
    async def receive(
        request: fastapi.Request,
        lang: Lang = "en",
        audience: Audience = "sender",
    ) -> fastapi.Response:
        raw = await request.body()
        state = request.app.state

        def work() -> bytes:
            delivery = Delivery(request.headers, raw)
            if check := state.checks.get(service.id):
                check(delivery)
            return _answer(state.served.classifier(lang, audience), _replies(service, delivery.body, state.settings.max_rows))

        return fastapi.Response(await run_in_threadpool(work), media_type="application/json")

    return receive


async def _exists() -> fastapi.Response:
    """Say that the address exists, as Mandrill asks on setup (https://mandrill.zendesk.com/hc/en-us/articles/360038740014 )."""
    return fastapi.Response()


def _description(service: Service) -> str:
    told = f"Events of {service.name}: {service.page} ."
    if not service.checked:
        return f"{told} The service signs nothing; set a token for this service."
    there = "is" if len(service.settings) == 1 else "are"
    return f"{told} Checked by {service.checked} where {' and '.join(service.settings)} {there} set."


def _add(service: Service) -> None:
    example: Any = service.example if service.content == FORM else json.loads(service.example)
    shape = {"type": "object", "additionalProperties": {"type": "string"}} if service.content == FORM else {}
    body = {"required": True, "content": {service.content: {"schema": shape, "example": example}}}
    path = f"/v1/events/{service.id}"
    router.add_api_route(
        path,
        _receiver(service),
        methods=["POST"],
        response_model=Answer,
        responses=problems(400, 415, 422),
        summary=f"Verdicts on events of {service.name}",
        description=_description(service),
        operation_id=f"events_{service.id}",
        openapi_extra={"requestBody": body},
    )
    router.add_api_route(path, _exists, methods=["HEAD"], include_in_schema=False)


for _service in services():
    _add(_service)
