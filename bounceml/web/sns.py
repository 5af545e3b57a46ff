"""Messages of Amazon SNS, which carries the events of Amazon SES: their signature, and the confirmation of a subscription.

Only topics that are configured are heard, and for them only is anything fetched: the certificate that the message names, and
once the address that confirms the subscription, both from a host of SNS alone. The trust is in TLS to that host, and in the
path of the certificate: nobody but Amazon puts files there.
"""

from __future__ import annotations

import base64
import re
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPException
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bounceml.errors import UsageError
from bounceml.web.delivery import Delivery
from bounceml.web.guard import Refused
from bounceml.web.signatures import forged, fresh

# What is signed, by the type of a message; "Subject" only where there is one.
# https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
_OF_SUBSCRIPTION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _OF_SUBSCRIPTION,
    "UnsubscribeConfirmation": _OF_SUBSCRIPTION,
}
_HASHES: dict[str, type[hashes.SHA1 | hashes.SHA256]] = {"1": hashes.SHA1, "2": hashes.SHA256}  # by SignatureVersion; same page

# The hosts of SNS, as AWS's own validator has them: https://github.com/aws/aws-js-sns-message-validator
_HOST = re.compile(r"sns\.[a-z0-9-]{3,32}\.amazonaws\.com(?:\.cn)?")
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem")
_ARN = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w.-]{1,256}", re.ASCII)

_LARGEST = 65_536  # bytes of an answer
_PATIENCE = 5.0  # seconds
_KEPT = 8  # certificates

Fetch = Callable[[str], bytes]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow nothing: an answer elsewhere is none of SNS."""


def fetch(url: str) -> bytes:
    """Return what stands at an address, of a bounded size and in a bounded time; redirects are not followed.

    Raises
    ------
    OSError
        Where there is no such answer.

    """
    try:
        with urllib.request.build_opener(_NoRedirect).open(url, timeout=_PATIENCE) as answer:
            found: bytes = answer.read(_LARGEST + 1)
    except HTTPException as error:
        raise OSError(f"no answer in HTTP ({type(error).__name__})") from None
    if len(found) > _LARGEST:
        raise OSError(f"more than {_LARGEST} bytes")
    return found


class Topics:
    """The check of ``ses``: hears the topics that are configured, and confirms the subscription to them.

    Parameters
    ----------
    arns
        Their names, ``arn:aws:sns:…``. Without any, nothing is checked, nothing is fetched and no subscription is confirmed.
    fetch
        Returns what stands at an address, or raises an OSError.

    Raises
    ------
    UsageError
        Where one is no name of a topic.

    """

    def __init__(self, arns: frozenset[str], fetch: Fetch = fetch) -> None:
        for arn in arns:
            if not _ARN.fullmatch(arn):
                raise UsageError(f"BOUNCEML_SNS_TOPICS: {arn!r} is no topic; give names such as arn:aws:sns:eu-west-1:123456789012:bounces")
        self._arns = arns
        self._fetch = fetch
        self._certificates: dict[str, x509.Certificate] = {}
        self._lock = Lock()

    def __call__(self, delivery: Delivery) -> None:
        """Refuse what SNS did not send for one of the topics; confirm a subscription to one.

        Raises
        ------
        Refused
            403 for what is not signed as it should be; 503 where SNS could not be asked, and shall try again.

        """
        message = delivery.fields
        kind = str(message.get("Type"))
        if not self._arns:
            if kind == "SubscriptionConfirmation":
                raise Refused(
                    403, "Topic not configured", "Set BOUNCEML_SNS_TOPICS to the names of your topics, and ask SNS to confirm once more."
                )
            return
        if kind not in _SIGNED:
            raise forged("This is no message of SNS with a signature; turn raw message delivery off for this subscription.")
        if str(message.get("TopicArn")) not in self._arns:
            raise forged("The topic is none of BOUNCEML_SNS_TOPICS.")
        self._verify(message)
        if kind == "SubscriptionConfirmation":
            self._confirm(message)

    def _verify(self, message: dict[str, Any]) -> None:
        names = [name for name in _SIGNED[message["Type"]] if name != "Subject" or message.get(name) is not None]
        signed = "".join(f"{name}\n{message.get(name)}\n" for name in names)
        kind = _HASHES.get(str(message.get("SignatureVersion")))
        if kind is None:
            raise forged("Its SignatureVersion is neither 1 nor 2.")
        key = self._key(_address(message.get("SigningCertURL"), _CERTIFICATE))
        try:
            signature = base64.b64decode(str(message.get("Signature")), validate=True)
            key.verify(signature, signed.encode("utf-8", "replace"), padding.PKCS1v15(), kind())
            fresh(datetime.fromisoformat(str(message.get("Timestamp"))).timestamp())
        except (ValueError, InvalidSignature):
            raise forged("The signature does not fit the message; pass the body on as it came.") from None

    def _key(self, url: str) -> rsa.RSAPublicKey:
        certificate = self._certificates.get(url) or self._fetched(url)
        if not certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc:
            raise forged("The certificate that it names is not valid today.")
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise forged("The certificate that it names has no RSA key.")
        return key

    def _fetched(self, url: str) -> x509.Certificate:
        if not self._lock.acquire(blocking=False):  # one at a time, and only one thread waits for SNS
            raise _later("Another certificate is being fetched.")
        try:
            found = self._certificates.get(url) or x509.load_pem_x509_certificate(self._fetch(url))
            if len(self._certificates) >= _KEPT:
                self._certificates.clear()
            self._certificates[url] = found
            return found
        except OSError:
            raise _later("The certificate of the message cannot be fetched; this machine must reach SNS by HTTPS.") from None
        except ValueError:
            raise forged("What stands at SigningCertURL is no certificate.") from None
        finally:
            self._lock.release()

    def _confirm(self, message: dict[str, Any]) -> None:
        """Visit the address that confirms: https://docs.aws.amazon.com/sns/latest/dg/http-subscription-confirmation-json.html ."""
        url = _address(message.get("SubscribeURL"), re.compile("/"))
        if parse_qs(urlsplit(url).query).get("Action") != ["ConfirmSubscription"]:
            raise forged("Its SubscribeURL confirms no subscription.")
        try:
            self._fetch(url)
        except OSError:
            raise _later("SNS could not be asked to confirm the subscription; this machine must reach it by HTTPS.") from None


def _address(url: object, path: re.Pattern[str]) -> str:
    """Return an address at a host of SNS; nothing else is ever fetched."""
    try:
        parts = urlsplit(str(url))
    except ValueError:
        parts = urlsplit("")
    if parts.scheme != "https" or not _HOST.fullmatch(parts.netloc) or not path.fullmatch(parts.path):
        raise forged("It names an address that is none of SNS.")
    return parts.geturl()


def _later(why: str) -> Refused:
    return Refused(503, "Not now", why, {"Retry-After": "20"})
