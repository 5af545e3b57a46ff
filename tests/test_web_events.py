"""POST /v1/events/…: the events of each service are read, and what does not prove where it comes from is refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from fastapi import FastAPI

from bounceml.errors import UsageError
from bounceml.web import app, events, sns
from bounceml.web.delivery import Delivery
from bounceml.web.guard import Refused
from bounceml.web.settings import Settings

SERVICES = {service.id: service for service in events.services()}
CASES = [json.loads(line) for line in (Path(__file__).parent / "logs" / "events.jsonl").read_text(encoding="utf-8").splitlines()]

# --- certificates and keys of our own; making RSA keys takes a while, so there is one --------------------------------

RSA = rsa.generate_private_key(65537, 2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
CURVE_PUBLIC = base64.b64encode(
    CURVE.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
).decode()
TOPIC = "arn:aws:sns:eu-west-1:123456789012:bounces"
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
SUBSCRIBE = f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=t"


def certificate(days: int = 1, key: Any = RSA) -> bytes:
    """A certificate that ends in so many days, and began two before that."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.example.com")])
    end = datetime.now(UTC) + timedelta(days=days)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    signed = made.not_valid_before(end - timedelta(days=2)).not_valid_after(end).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


class Net:
    """Stands for the network: what is fetched, and what it answers."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Client:
    """The service in this process, whose environment has these settings, and whose network is this one."""

    app: FastAPI

    def __init__(self, environ: dict[str, str] | None = None, net: Net | None = None) -> None:
        self.app.state.checks = events.checks(environ or {}, (net or Net(OSError("no network in tests"))).fetch)
        self.app.state.settings = Settings()

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def answered() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 50_000))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8025") as client:
                return await client.request(method, path, **more)

        return asyncio.run(answered())


@pytest.fixture(scope="module", autouse=True)
def running(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One for all tests, as the model takes a while."""
    Client.app = app.create(Settings(state=tmp_path_factory.mktemp("state")))


def post(client: Client, service: str, body: Any = None, **more: Any) -> httpx.Response:
    """Post a body to a service's address: JSON, a form as text, or the example of the service."""
    known = SERVICES[service]
    content = known.example if body is None else body if isinstance(body, str | bytes) else json.dumps(body)
    headers = {"Content-Type": known.content, **more.pop("headers", {})}
    return client.request("POST", f"/v1/events/{service}", content=content, headers=headers, **more)


def problem(answer: httpx.Response, status: int) -> str:
    """Return why a request was refused, in the form of RFC 9457."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["status"] == status
    detail: str = answer.json()["detail"]
    return detail


# --- events -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_example_of_each_service_is_judged(service: str) -> None:
    answer = post(Client(), service, params={"lang": "zh"})
    assert answer.status_code == 200
    (verdict,) = answer.json()["verdicts"]
    assert (verdict["recipient"], verdict["category"], verdict["suppress"]) == ("ann@example.net", "user_unknown", True)
    assert "收件人" in verdict["remedy"]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_events_are_read_as_from_a_file(case: dict[str, Any]) -> None:
    answer = post(Client(), "kumomta", case["event"])
    assert answer.status_code == 200
    assert [(row["reply"], row["recipient"]) for row in answer.json()["verdicts"]] == [
        (row["text"], row["recipient"]) for row in case["expected"]
    ]


def test_sns_says_text_of_its_json() -> None:
    event = {"Type": "Notification", "TopicArn": TOPIC, "Message": SERVICES["ses"].example}
    answer = post(Client(), "ses", event, headers={"Content-Type": "text/plain; charset=UTF-8"})
    assert [row["category"] for row in answer.json()["verdicts"]] == ["user_unknown"]


@pytest.mark.parametrize(
    ("service", "body"),
    [
        ("sparkpost", [{"msys": {}}]),
        ("mandrill", "mandrill_events=%5B%5D"),
        ("sendgrid", []),
        ("ses", {"Type": "Notification", "Message": "Successfully validated SNS topic for Amazon SES event publishing."}),
    ],
)
def test_what_is_posted_on_setup_is_answered(service: str, body: Any) -> None:
    answer = post(Client(), service, body)
    assert (answer.status_code, answer.json()) == (200, {"verdicts": []})


@pytest.mark.parametrize("service", SERVICES)
def test_head_says_that_the_address_exists(service: str) -> None:
    assert Client().request("HEAD", f"/v1/events/{service}").status_code == 200


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 200_000, b'{"a": ' + b"9" * 5000 + b"}"])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    assert "JSON" in problem(post(Client(), "ses", raw), 400)


@pytest.mark.parametrize("raw", [b"mandrill_events=%ff", b"&".join([b"a=1"] * 1001)])
def test_what_is_no_form_is_refused(raw: bytes) -> None:
    assert "form" in problem(post(Client(), "mandrill", raw), 400)


def test_multipart_is_refused() -> None:
    problem(Client().request("POST", "/v1/events/mailgun", files={"a": b"b"}), 415)


@pytest.mark.parametrize("body", [{"a": 1}, [{"a": 1}], [], 7, None, "550 5.1.1", {"mandrill_events": "{"}])
def test_other_json_is_no_event(body: Any) -> None:
    assert "postmarkapp.com" in problem(post(Client(), "postmark", json.dumps(body)), 422)


def test_unknown_service() -> None:
    assert Client().request("POST", "/v1/events/nobody", json={}).status_code == 404


def test_more_recipients_than_wanted() -> None:
    few = Client()
    few.app.state.settings = Settings(max_rows=2)
    event = json.loads(SERVICES["kumomta"].example)
    assert post(few, "kumomta", event | {"recipient": ["a@example.net"] * 2}).status_code == 200
    problem(post(few, "kumomta", event | {"recipient": ["a@example.net"] * 3}), 413)


def test_api_is_described() -> None:
    paths = Client().request("GET", "/openapi.json").json()["paths"]
    for service in SERVICES.values():
        told = paths[f"/v1/events/{service.id}"]["post"]
        assert {"200", "400", "401", "403", "413", "415", "422", "429", "503"} <= set(told["responses"])
        assert told["requestBody"]["content"][service.content]["example"]
        assert all(name in told["description"] for name in (service.page, *service.settings))


# --- signatures -------------------------------------------------------------------------------------------------

PASSWORD = {"BOUNCEML_POSTMARK_USER": "hook", "BOUNCEML_POSTMARK_PASSWORD": "secret"}


def sendgrid(body: bytes, when: float | str | None = None, key: ec.EllipticCurvePrivateKey = CURVE) -> dict[str, str]:
    stamp = str(when if isinstance(when, str) else int(when or time.time()))
    signature = key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return {
        "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
    }


def test_sendgrid() -> None:
    there = Client({"BOUNCEML_SENDGRID_PUBLIC_KEY": CURVE_PUBLIC})
    body = SERVICES["sendgrid"].example.encode()
    assert post(there, "sendgrid", body, headers=sendgrid(body)).status_code == 200
    assert post(there, "sendgrid", body, headers=sendgrid(body, time.time() - 80_000)).status_code == 200
    other = ec.generate_private_key(ec.SECP256R1())
    for headers in (
        {},
        sendgrid(body, key=other),
        sendgrid(body + b" "),
        sendgrid(body, time.time() - 90_000),
        sendgrid(body, time.time() + 900),
        sendgrid(body, "soon"),
        sendgrid(body) | {"X-Twilio-Email-Event-Webhook-Signature": "%%"},
        sendgrid(body) | {"X-Twilio-Email-Event-Webhook-Timestamp": "1"},
    ):
        problem(post(there, "sendgrid", body, headers=headers), 403)


def test_key_of_sendgrid_as_pem() -> None:
    pem = CURVE.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    assert "sendgrid" in events.checks({"BOUNCEML_SENDGRID_PUBLIC_KEY": pem})


def mailgun(key: str = "key", when: float | None = None, name: str = "signature", token: str = "t" * 50) -> dict[str, Any]:
    stamp = str(int(when or time.time()))
    signature = hmac.new(key.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
    signed = {"timestamp": stamp, "token": token, "signature": "0" * 64} | {name: signature}
    return json.loads(SERVICES["mailgun"].example) | {"signature": signed}


def test_mailgun() -> None:
    there = Client({"BOUNCEML_MAILGUN_SIGNING_KEY": "key"})
    assert post(there, "mailgun", mailgun()).status_code == 200
    assert post(there, "mailgun", mailgun(name="parent-signature")).status_code == 200
    replayed = mailgun()
    replayed["signature"]["timestamp"] = str(int(time.time()) - 1)
    for body in (mailgun("other"), mailgun(when=time.time() - 90_000), replayed, {"event-data": {}}, {"signature": 7}, [], "null"):
        problem(post(there, "mailgun", body), 403)


def test_mailgun_of_old_posts_a_form() -> None:
    check = events.checks({"BOUNCEML_MAILGUN_SIGNING_KEY": "key"})["mailgun"]
    form = {"event": "bounced", "recipient": "ann@example.net", **mailgun()["signature"]}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    check(Delivery(headers, urlencode(form).encode()))
    with pytest.raises(Refused):
        check(Delivery(headers, urlencode(form | {"token": "other"}).encode()))


def mandrill(url: str, key: str = "key", **more: str) -> tuple[str, dict[str, str]]:
    form = {"mandrill_events": json.dumps([{"event": "hard_bounce", "msg": {"email": "ann@example.net", "diag": "550 5.1.1 ä"}}])} | more
    signed = url + "".join(name + form[name] for name in sorted(form))
    signature = base64.b64encode(hmac.new(key.encode(), signed.encode(), hashlib.sha1).digest()).decode()
    return urlencode(form), {"X-Mandrill-Signature": signature}


def test_mandrill() -> None:
    url = "https://bounces.example.com/v1/events/mandrill"
    there = Client({"BOUNCEML_MANDRILL_KEY": "key", "BOUNCEML_MANDRILL_URL": url})
    for body, headers in (mandrill(url), mandrill(url, a="b", z="y")):
        assert post(there, "mandrill", body, headers=headers).status_code == 200
    for body, headers in (mandrill(url + "/"), mandrill(url, "other"), (mandrill(url)[0], {})):
        assert "BOUNCEML_MANDRILL_URL" in problem(post(there, "mandrill", body, headers=headers), 403)


@pytest.mark.parametrize("service", ["postmark", "sparkpost"])
def test_user_and_password(service: str) -> None:
    there = Client({name.replace("POSTMARK", service.upper()): value for name, value in PASSWORD.items()})
    assert post(there, service, auth=("hook", "secret")).status_code == 200
    for auth in (None, ("hook", "Secret"), ("hook", ""), ("hook", "é")):
        answer = post(there, service, auth=auth)
        problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"BOUNCEML_MANDRILL_KEY": "key"}, "BOUNCEML_MANDRILL_URL"),
        ({"BOUNCEML_POSTMARK_PASSWORD": "secret"}, "BOUNCEML_POSTMARK_USER"),
        ({"BOUNCEML_SENDGRID_PUBLIC_KEY": "secret"}, "verification key"),
        ({"BOUNCEML_SENDGRID_PUBLIC_KEY": "c2VjcmV0"}, "verification key"),
        ({"BOUNCEML_SNS_TOPICS": " , "}, "no topic"),
        ({"BOUNCEML_SNS_TOPICS": f"{TOPIC}, bounces"}, "'bounces'"),
    ],
)
def test_settings_that_cannot_be_used(environ: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError, match=told) as raised:
        events.checks(environ)
    assert "secret" not in str(raised.value)


def test_what_has_no_password_is_not_even_read() -> None:
    problem(post(Client(PASSWORD), "postmark", b"{"), 401)


def test_paths_that_need_no_token() -> None:
    environ = PASSWORD | {"BOUNCEML_MAILGUN_SIGNING_KEY": "key"}
    assert events.vouched(events.checks(environ), environ) == {"/v1/events/mailgun", "/v1/events/postmark"}
    environ = {"BOUNCEML_SNS_TOPICS": TOPIC}
    assert events.vouched(events.checks(environ), environ) == {"/v1/events/ses"}


def test_own_proof_stands_for_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in PASSWORD.items():
        monkeypatch.setenv(name, value)
    there = Client()
    there.app = app.create(Settings(token="token", state=tmp_path))
    assert post(there, "postmark", auth=("hook", "secret")).status_code == 200
    assert there.request("HEAD", "/v1/events/postmark").status_code == 200
    problem(post(there, "postmark"), 401)
    problem(post(there, "postmark", auth=("any", "token")), 401)
    problem(post(there, "sendgrid"), 401)
    assert post(there, "sendgrid", auth=("any", "token")).status_code == 200
    assert post(there, "sendgrid", headers={"Authorization": "Bearer token"}).status_code == 200


def test_a_key_is_asked_of_its_own_service_only() -> None:
    there = Client(PASSWORD)
    assert post(there, "sendgrid").status_code == 200
    problem(post(there, "postmark"), 401)


# --- Amazon SNS -------------------------------------------------------------------------------------------------

FIELDS = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


def sns_message(kind: str = "Notification", version: str = "2", key: rsa.RSAPrivateKey = RSA, **other: Any) -> dict[str, Any]:
    """A message as AWS's documentation tells how it is signed; ``other`` are fields, None for one that is not there."""
    message: dict[str, Any] = {
        "Type": kind,
        "MessageId": "22b80b92-0000-4c2c-8f9d-000000000000",
        "TopicArn": TOPIC,
        "Message": SERVICES["ses"].example,
        "Timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE,
    }
    if kind != "Notification":
        message |= {"Token": "t", "SubscribeURL": SUBSCRIBE, "Message": "You have chosen to subscribe.\nVisit the SubscribeURL."}
    message = {name: value for name, value in (message | other).items() if value is not None}
    signed = "".join(f"{name}\n{message[name]}\n" for name in FIELDS[kind] if name in message)
    digest = hashes.SHA1() if version == "1" else hashes.SHA256()
    return message | {"Signature": base64.b64encode(key.sign(signed.encode(), padding.PKCS1v15(), digest)).decode()}


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [None, "Bounce of yours"])
def test_signed_notification(version: str, subject: str | None) -> None:
    net = Net(certificate())
    there = Client({"BOUNCEML_SNS_TOPICS": TOPIC}, net)
    for _ in range(2):
        answer = post(there, "ses", sns_message(version=version, Subject=subject))
        assert [row["category"] for row in answer.json()["verdicts"]] == ["user_unknown"]
    assert net.asked == [CERTIFICATE]  # and it is kept


OTHER_KEY = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    "changed",
    [
        {"Message": "{}"},
        {"Subject": "added"},
        {"Timestamp": "2026-05-01T08:00:00.000Z"},
        {"Signature": "AAAA"},
        {"Signature": "%"},
        {"Signature": None},
        {"SignatureVersion": "3"},
        {"SignatureVersion": "1"},
        {"Type": "UnsubscribeConfirmation"},
        {"Type": "Other"},
        {"Type": ["Notification"]},
        {"TopicArn": TOPIC + "2"},
        {"TopicArn": [TOPIC]},
    ],
)
def test_changed_notification(changed: dict[str, Any]) -> None:
    problem(post(Client({"BOUNCEML_SNS_TOPICS": TOPIC}, Net(certificate())), "ses", sns_message() | changed), 403)


def test_signed_by_another() -> None:
    problem(post(Client({"BOUNCEML_SNS_TOPICS": TOPIC}, Net(certificate())), "ses", sns_message(key=OTHER_KEY)), 403)


def test_replayed_after_days() -> None:
    old = (datetime.now(UTC) - timedelta(days=2)).isoformat(timespec="milliseconds")
    assert "day" in problem(post(Client({"BOUNCEML_SNS_TOPICS": TOPIC}, Net(certificate())), "ses", sns_message(Timestamp=old)), 403)


@pytest.mark.parametrize(
    "found", [certificate(days=-1), certificate(days=5), certificate(key=CURVE), b"", b"-----BEGIN CERTIFICATE-----\n"]
)
def test_certificate_that_is_no_good(found: bytes) -> None:
    assert "ertificate" in problem(post(Client({"BOUNCEML_SNS_TOPICS": TOPIC}, Net(found)), "ses", sns_message()), 403) or not found


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com.example.com/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com@example.com/SimpleNotificationService-0.pem",
        "https://user@sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://bucket.s3.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.amazonaws.com.example/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com/other.pem",
        "https://sns.eu-west-1.amazonaws.com/a/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-../0.pem",
        "https://sns.eu-west-1.amazonaws.com\n.example.com/SimpleNotificationService-0.pem",
        "https://[::1/SimpleNotificationService-0.pem",
        "file:///etc/SimpleNotificationService-0.pem",
        "https://127.0.0.1/SimpleNotificationService-0.pem",
        "",
        None,
        7,
    ],
)
def test_nothing_is_fetched_from_elsewhere(url: Any) -> None:
    net = Net(certificate())
    problem(post(Client({"BOUNCEML_SNS_TOPICS": TOPIC}, net), "ses", sns_message() | {"SigningCertURL": url}), 403)
    problem(post(Client({"BOUNCEML_SNS_TOPICS": TOPIC}, net), "ses", sns_message("SubscriptionConfirmation", SubscribeURL=str(url))), 403)
    assert [asked for asked in net.asked if asked != CERTIFICATE] == []


@pytest.mark.parametrize(
    "url", ["https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-0a.pem", CERTIFICATE.replace("eu-west-1", "us-gov-west-1")]
)
def test_certificate_of_other_partitions(url: str) -> None:
    net = Net(certificate())
    assert post(Client({"BOUNCEML_SNS_TOPICS": TOPIC}, net), "ses", sns_message(SigningCertURL=url)).status_code == 200
    assert net.asked == [url]


def test_sns_out_of_reach_shall_try_again() -> None:
    answer = post(Client({"BOUNCEML_SNS_TOPICS": TOPIC}, Net(OSError("no route"))), "ses", sns_message())
    problem(answer, 503)
    assert answer.headers["retry-after"]


def test_subscription_is_confirmed() -> None:
    net = Net(certificate())
    answer = post(Client({"BOUNCEML_SNS_TOPICS": f"{TOPIC}2 {TOPIC}"}, net), "ses", sns_message("SubscriptionConfirmation"))
    assert (answer.status_code, answer.json(), net.asked) == (200, {"verdicts": []}, [CERTIFICATE, SUBSCRIBE])


def test_only_one_thread_waits_for_sns() -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(url: str) -> bytes:
        asked.set()
        assert answer.wait(10)
        return certificate()

    check = events.checks({"BOUNCEML_SNS_TOPICS": TOPIC}, slow)["ses"]
    delivery = Delivery({}, json.dumps(sns_message()).encode())
    first = threading.Thread(target=check, args=(delivery,))
    first.start()
    assert asked.wait(10)
    with pytest.raises(Refused) as refused:
        check(delivery)
    assert refused.value.status_code == 503
    answer.set()
    first.join(10)
    check(delivery)


@pytest.mark.parametrize("environ", [{}, {"BOUNCEML_SNS_TOPICS": TOPIC + "2"}])
def test_subscription_to_another_topic_is_not_confirmed(environ: dict[str, str]) -> None:
    net = Net(certificate())
    assert "BOUNCEML_SNS_TOPICS" in problem(post(Client(environ, net), "ses", sns_message("SubscriptionConfirmation")), 403)
    assert net.asked == []


def test_address_that_confirms_nothing_is_not_visited() -> None:
    net = Net(certificate())
    url = SUBSCRIBE.replace("ConfirmSubscription", "Unsubscribe")
    problem(post(Client({"BOUNCEML_SNS_TOPICS": TOPIC}, net), "ses", sns_message("SubscriptionConfirmation", SubscribeURL=url)), 403)
    assert net.asked == [CERTIFICATE]


def test_end_of_a_subscription_is_left_as_it_is() -> None:
    net = Net(certificate())
    answer = post(Client({"BOUNCEML_SNS_TOPICS": TOPIC}, net), "ses", sns_message("UnsubscribeConfirmation"))
    assert (answer.status_code, net.asked) == (200, [CERTIFICATE])


def test_raw_delivery_has_no_signature() -> None:
    headers = {"x-amz-sns-rawdelivery": "true"}
    assert post(Client(), "ses", headers=headers).status_code == 200
    assert "raw" in problem(post(Client({"BOUNCEML_SNS_TOPICS": TOPIC}, Net(certificate())), "ses", headers=headers), 403)


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/elsewhere" else 500 if self.path == "/broken" else 200)
        self.send_header("Location", "/")
        self.end_headers()
        self.wfile.write(b"x" * (70_000 if self.path == "/large" else 10))

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_what_is_fetched_is_bounded_and_not_redirected() -> None:
    with HTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        assert sns.fetch(f"{base}/") == b"x" * 10
        for path in ("elsewhere", "broken", "large"):
            with pytest.raises(OSError, match=r"302|500|bytes"):
                sns.fetch(f"{base}/{path}")
        server.shutdown()
    with pytest.raises(OSError, match=r"."):
        sns.fetch(f"{base}/")
