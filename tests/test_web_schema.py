"""What /openapi.json says is what the service does: schemathesis asks whatever the description allows, and what it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi import checks
from test_web_api import FULL, Client

from bounceml.values import FIELDS
from bounceml.web import api
from bounceml.web.app import create
from bounceml.web.settings import Settings

APP = create(Settings(max_bytes=100_000, max_rows=100, names=("testserver",)))
REST = schemathesis.openapi.from_dict(Client(APP).get("/openapi.json").json())
REST.app = APP


@schemathesis.serializer(*api._KINDS)
def as_it_is(context: Any, value: Any) -> bytes:
    """What is described as a string or a file, whatever schemathesis made of it."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    found: dict[str, Any] = Client(APP).get("/openapi.json").json()
    return found


@REST.parametrize()
@settings(max_examples=30, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_whatever_is_asked_is_answered_as_described(case: Any) -> None:
    not_meant = []
    if case.path.startswith("/v1/events/"):  # what an event looks like is told by its service, not by our description
        not_meant.append(checks.positive_data_acceptance)
    elif case.media_type not in (None, "application/json"):  # any bytes are a file, and none is described that has too many rows
        not_meant += [checks.positive_data_acceptance, checks.negative_data_rejection]
    case.call_and_validate(excluded_checks=not_meant)


def test_each_field_of_a_verdict_is_described(described: dict[str, Any]) -> None:
    fields = described["components"]["schemas"]["Verdict"]
    assert list(fields["properties"]) == fields["required"] == list(FIELDS)


def test_every_operation_tells_all_refusals(described: dict[str, Any]) -> None:
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert {"200", "401", "403", "413", "421", "429", "500", "503"} <= set(operation["responses"]), path


def test_examples_are_in_both_languages_and_are_answered(described: dict[str, Any]) -> None:
    content = described["paths"]["/v1/classify"]["post"]["requestBody"]["content"]
    examples = [example["value"] for example in content["application/json"]["examples"].values()]
    assert any(not json.dumps(example, ensure_ascii=False).isascii() for example in examples)
    for example in examples:
        assert Client(APP).verdicts(json=example)[0]["category"] != "unknown"
    answers = described["paths"]["/v1/classify"]["post"]["responses"]["200"]["content"]["application/json"]["examples"]
    for lang, example in answers.items():
        assert example["value"]["verdicts"] == Client(APP).verdicts(f"/v1/classify?lang={lang}", json={"text": FULL})
