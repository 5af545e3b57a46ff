"""Whether a webhook comes from the service whose address it was posted to: one check a service, each as that service documents it.

A check is made of a secret and refuses what does not prove that it knows it: 403, or 401 where a password is asked for. Secrets
are compared in constant time. Where a service signs the time too, a request may be a day old: that long they try again. Amazon
SNS, whose check needs a certificate from elsewhere, is in ``sns``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bounceml.errors import UsageError
from bounceml.web.delivery import Delivery
from bounceml.web.guard import Refused

_OLDEST = 86_400  # seconds; Mailgun tries for 8 hours (…/webhooks/webhook-retries) and asks not to be "too aggressive" with the time
_AHEAD = 300  # seconds that the other clock may be ahead of ours


Check = Callable[[Delivery], None]


def forged(why: str) -> Refused:
    """Return the refusal of a request whose signature does not hold."""
    return Refused(403, "Signature refused", why)


def fresh(seconds: float) -> None:
    """Refuse what was signed too long ago, or is from the future; ``seconds`` since 1970."""
    if not -_AHEAD <= time.time() - seconds <= _OLDEST:
        raise forged("It was signed more than a day ago, or in the future; see that the clock of this machine is right.")


def sendgrid(public_key: str) -> Check:
    """Return the check of SendGrid's Signed Event Webhook: ECDSA with SHA-256 over the time and the body as sent.

    Parameters
    ----------
    public_key
        The verification key, as SendGrid's settings show it: DER in Base64. PEM will do, too.

    Raises
    ------
    UsageError
        Where it is no key of an elliptic curve.

    Notes
    -----
    Source: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features

    """
    try:
        pem = public_key.lstrip().startswith("-----BEGIN")
        key = (
            serialization.load_pem_public_key(public_key.encode())
            if pem
            else serialization.load_der_public_key(base64.b64decode(public_key, validate=True))
        )
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise UsageError("BOUNCEML_SENDGRID_PUBLIC_KEY is no public key; copy the verification key of the Event Webhook's settings")

    def check(delivery: Delivery) -> None:
        when = delivery.headers.get("x-twilio-email-event-webhook-timestamp", "")
        try:
            signature = base64.b64decode(delivery.headers.get("x-twilio-email-event-webhook-signature", ""), validate=True)
            key.verify(signature, when.encode() + delivery.raw, ec.ECDSA(hashes.SHA256()))
            fresh(int(when))
        except (ValueError, InvalidSignature):
            raise forged(
                "X-Twilio-Email-Event-Webhook-Signature is missing or does not fit; pass body and headers on as they came."
            ) from None

    return check


def mailgun(signing_key: str) -> Check:
    """Return the check of Mailgun: HMAC with SHA-256 of time and token, beside the event. The event itself is not signed.

    An event of a subaccount is signed by its key and, as ``parent-signature``, by that of the account; either will do.

    Notes
    -----
    Source: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks

    """

    def check(delivery: Delivery) -> None:
        signed = delivery.fields.get("signature")
        signed = signed if isinstance(signed, dict) else delivery.fields  # a form has the three fields beside the others
        when, token = (str(signed.get(name, "")) for name in ("timestamp", "token"))
        right = hmac.new(signing_key.encode(), f"{when}{token}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()
        given = [str(signed.get(name, "")) for name in ("signature", "parent-signature")]
        if not any(_same(right, one) for one in given):
            raise forged("The signature in the body is missing or does not fit; check BOUNCEML_MAILGUN_SIGNING_KEY.")
        try:
            fresh(float(when))
        except ValueError:
            raise forged("The timestamp beside the signature is no number of seconds.") from None

    return check


def mandrill(key: str, url: str) -> Check:
    """Return the check of Mandrill: HMAC with SHA-1 of the webhook's address and the fields of the form, sorted by name.

    Parameters
    ----------
    key
        The webhook's key.
    url
        Its address, exactly as it was entered at Mandrill.

    Notes
    -----
    Source: https://mandrill.zendesk.com/hc/en-us/articles/360039232513-How-to-Authenticate-Webhook-Requests

    """

    def check(delivery: Delivery) -> None:
        form = delivery.fields
        signed = url + "".join(f"{name}{form[name]}" for name in sorted(form))
        right = base64.b64encode(hmac.digest(key.encode(), signed.encode("utf-8", "replace"), "sha1")).decode()
        if not _same(right, delivery.headers.get("x-mandrill-signature", "")):
            raise forged("X-Mandrill-Signature is missing or does not fit; BOUNCEML_MANDRILL_URL must be the address as Mandrill has it.")

    return check


def basic(user: str, password: str) -> Check:
    """Return the check of user and password, which Postmark and SparkPost send as the webhook's address or settings have them.

    Notes
    -----
    Sources: https://postmarkapp.com/developer/webhooks/webhooks-overview ,
    https://support.sparkpost.com/docs/tech-resources/webhook-authentication , RFC 7617.

    """
    right = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def check(delivery: Delivery) -> None:
        if not _same(right, delivery.headers.get("authorization", "")):
            raise Refused(
                401,
                "User and password needed",
                "Enter the webhook's address as https://USER:PASSWORD@host/…, or both in the service's settings.",
                {"WWW-Authenticate": 'Basic realm="bounceml"'},
            )

    return check


def _same(right: str, given: str) -> bool:
    return hmac.compare_digest(right.encode(), given.encode("utf-8", "replace"))
