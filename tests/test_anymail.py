"""Events of Anymail by the server's reply; the receiver of docs/anymail.md, in a real Django with a real Anymail."""

from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT

from bounceml.anymail import Normalised, normalise, normalise_event
from bounceml.values import Reply

PAGE = (ROOT / "docs" / "anymail.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def event(event_type: str, esp_event: Any, recipient: str = "ann@example.net", **more: Any) -> SimpleNamespace:
    return SimpleNamespace(
        **({"event_type": event_type, "esp_event": esp_event, "recipient": recipient, "mta_response": None, "description": None} | more)
    )


def said(found: Normalised | None) -> tuple[str, str | None, str]:
    assert found is not None
    return found.event_type, found.reject_reason, found.verdict.category


SES = {
    "eventType": "Bounce",
    "mail": {"messageId": "m-1", "destination": ["ann@example.net", "bob@example.net"]},
    "bounce": {
        "bounceType": "Permanent",
        "bouncedRecipients": [
            {"emailAddress": "ann@example.net", "diagnosticCode": "smtp; 550 5.1.1 user unknown"},
            {"emailAddress": "Bob@example.net", "diagnosticCode": "smtp; 552 5.2.2 mailbox full"},
        ],
    },
}


def test_reply_of_the_recipient() -> None:
    assert said(normalise_event(event("bounced", SES))) == ("bounced", "bounced", "user_unknown")
    assert said(normalise_event(event("bounced", SES, "bob@example.net"))) == ("bounced", "bounced", "mailbox_full")


@pytest.mark.parametrize("esp_event", [{"event": "new kind"}, None, 7, [], {"a": {}}])
def test_event_that_is_not_known(esp_event: Any) -> None:
    reply = "554 5.7.1 message looks like spam"
    assert said(normalise_event(event("bounced", esp_event, mta_response=reply))) == ("bounced", "spam", "spam_suspected")
    assert said(normalise_event(event("bounced", esp_event, description=reply))) == ("bounced", "spam", "spam_suspected")
    assert said(normalise_event(event("deferred", esp_event, mta_response="452 4.2.2 mailbox full"))) == ("deferred", None, "mailbox_full")
    assert normalise_event(event("bounced", esp_event)) is None


@pytest.mark.parametrize("kind", ["delivered", "opened", "rejected", "failed", "complained", "unknown"])
def test_words_of_anymail_stand(kind: str) -> None:
    assert normalise_event(event(kind, SES)) is None


def test_reply_that_tells_nothing() -> None:
    assert normalise_event(event("bounced", {}, mta_response="failed for unspecified reasons")) is None


def test_in_chinese() -> None:
    found = normalise_event(event("bounced", SES), "zh")
    assert found is not None
    assert "地址" in found.verdict.cause


def test_reply_that_is_no_bounce() -> None:
    assert normalise(Reply("I am on holiday", outcome="not_a_bounce"))[:2] == ("unknown", None)


def test_labels_are_those_of_anymail() -> None:
    signals = pytest.importorskip("anymail.signals", reason="django-anymail is not installed")
    types, reasons = ({value for name, value in vars(kind).items() if name.isupper()} for kind in (signals.EventType, signals.RejectReason))
    with (ROOT / "bounceml" / "tables" / "schemes.csv").open(encoding="utf-8", newline="") as file:
        labels = {row["label"] for row in csv.DictReader(file) if row["scheme"] == "anymail"} - {""}
    assert len(labels) > 5
    for label in labels:
        event_type, _, reason = label.partition("/")
        assert event_type in types
        assert not reason or reason in reasons


# --- the page ---------------------------------------------------------------------------------------------------


def test_second_example(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(BLOCKS[1], "docs/anymail.md", "exec"), {})
    assert capsys.readouterr().out.strip() == re.findall(r"print\(.*\)  # (.*)", BLOCKS[1])[0]


@pytest.fixture(scope="module")
def site() -> Iterator[ModuleType]:
    """A Django site with Anymail's webhooks; its own module holds the receiver of the page, and is its table of addresses."""
    pytest.importorskip("anymail", reason="django-anymail is not installed")
    import django
    from django.conf import settings
    from django.urls import include, path

    site = ModuleType("site_of_anymail")
    site.urlpatterns = [path("anymail/", include("anymail.urls"))]  # type: ignore[attr-defined]
    settings.configure(
        ALLOWED_HOSTS=["testserver"],
        ANYMAIL={"WEBHOOK_SECRET": "user:word"},
        INSTALLED_APPS=["anymail"],
        ROOT_URLCONF=site,
        SECRET_KEY="of a test",
        USE_TZ=True,
    )
    django.setup()
    site.suppressed = []  # type: ignore[attr-defined]
    site.suppress = lambda *told: site.suppressed.append(told)  # type: ignore[attr-defined]
    exec(compile(BLOCKS[0], "docs/anymail.md", "exec"), site.__dict__)
    yield site
    from anymail.signals import tracking

    tracking.disconnect(site.on_tracking)


POSTED: dict[str, Any] = {
    "brevo": {"event": "hard_bounce", "email": "{}", "id": 7, "ts_epoch": 1777622400000, "reason": "{}"},  # by Anymail's own reading
    "postmark": {
        "RecordType": "Bounce",
        "ID": 4,
        "Type": "SoftBounce",
        "TypeCode": 4096,
        "Email": "{}",
        "Details": "smtp;{}",
        "BouncedAt": "",
    },
    "sparkpost": [
        {
            "msys": {
                "message_event": {
                    "type": "bounce",
                    "event_id": "e1",
                    "timestamp": "1777622400",
                    "raw_rcpt_to": "{}",
                    "rcpt_to": "-",
                    "raw_reason": "{}",
                }
            }
        }
    ],
}


@pytest.mark.parametrize("service", POSTED)
@pytest.mark.parametrize(
    ("address", "reply", "reason"),
    [("ann@example.net", "550 5.1.1 user unknown", "bounced"), ("bob@example.net", "552 5.2.2 mailbox full", None)],
)
def test_receiver_of_the_page(site: ModuleType, service: str, address: str, reply: str, reason: str | None) -> None:
    from django.test import Client

    body = json.dumps(POSTED[service]).replace("{}", address, 1).replace("{}", reply)
    site.suppressed.clear()
    answer = Client().post(
        f"/anymail/{service}/tracking/",
        body,
        content_type="application/json",
        headers={"Authorization": "Basic " + base64.b64encode(b"user:word").decode()},
    )
    assert answer.status_code == 200
    assert [told[:2] for told in site.suppressed] == ([(address, reason)] if reason else [])
