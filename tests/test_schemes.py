"""The labels of other tools: every category has one in every scheme, and no label is our own invention."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from bounceml import Classifier, cli, tables
from bounceml.cli import main
from bounceml.errors import UsageError
from bounceml.values import Reply

OUTCOMES = ("failed", "delayed", "expired", "delivered", "relayed", "expanded", "not_a_bounce", "unknown")
PERMANENCES = ("permanent", "temporary", "unknown")

# The labels that each tool documents, those that no category of ours stands for among them.
LABELS = {
    "powermta": "bad-configuration bad-connection bad-domain bad-mailbox content-related inactive-mailbox invalid-sender message-expired"
    " no-answer-from-host other policy-related protocol-errors quota-issues relaying-issues routing-errors spam-related virus-related",
    "kumomta": "InvalidRecipient DNSFailure SpamBlock SpamContent ProhibitedAttachment RelayDenied AutoReply TransientFailure Subscribe"
    " Unsubscribe ChallengeResponse BadConfiguration BadConnection BadDomain ContentRelated InactiveMailbox InvalidSender MessageExpired"
    " NoAnswerFromHost PolicyRelated ProtocolErrors QuotaIssues RelayingIssues RoutingErrors SpamRelated VirusRelated"
    " AuthenticationFailed TooManyRecipients Uncategorized",
    "sparkpost": "1 10 20 21 22 23 24 25 30 40 50 51 52 53 54 60 70 80 90 100",
    "ses": "Undetermined/Undetermined Permanent/General Permanent/NoEmail Permanent/Suppressed Permanent/OnAccountSuppressionList"
    " Transient/General Transient/MailboxFull Transient/MessageTooLarge Transient/ContentRejected Transient/AttachmentRejected",
    "sendgrid": "Invalid_Address Mailbox_Unavailable Content Reputation Frequency_or_Volume_Too_High Technical_Failure Unclassified",
    "mailgun": "permanent/bounce permanent/generic permanent/suppress-bounce temporary/generic temporary/greylisted temporary/old",
    "postmark": "HardBounce Transient Unsubscribe Subscribe AutoResponder AddressChange DnsError SpamNotification OpenRelayTest Unknown"
    " SoftBounce VirusNotification ChallengeVerification BadEmailAddress SpamComplaint ManuallyDeactivated Unconfirmed Blocked"
    " SMTPApiError InboundError DMARCPolicy TemplateRenderingFailed",
    "anymail": "bounced/invalid bounced/bounced bounced/timed_out bounced/blocked bounced/spam bounced/other deferred delivered",
    "sisimai": "authfailure badreputation blocked contenterror delivered exceedlimit expired feedback filtered hasmoved hostunknown"
    " mailboxfull mailererror mesgtoobig networkerror norelaying notaccept notcompliantrfc onhold policyviolation rejected requireptr"
    " securityerror spamdetected speeding suspend syntaxerror systemerror systemfull toomanyconn undefined userunknown vacation"
    " virusdetected",
    "postalsys": "auth_failure domain_blacklisted geo_blocked greylisting invalid_address ip_blacklisted mailbox_disabled mailbox_full"
    " policy_blocked rate_limited relay_denied server_error spam_blocked unknown user_unknown virus_detected",
    "zonemta": "rate block spam message config recipient other capacity greylist network protocol auth blacklist envelope",
    "hard-soft": "hard soft block admin undetermined",
}


def labels(scheme: str) -> set[str]:
    if scheme == "rfc3463":
        return {f"{digit}.{row['code']}" for digit in "45" for row in tables._rows("codes")} | {"2.0.0"}
    return {label.replace("_", " ") if scheme == "sendgrid" else label for label in LABELS[scheme].split()}


@pytest.mark.parametrize("scheme", tables.schemes())
def test_every_category_has_a_label_that_the_tool_knows(scheme: str) -> None:
    for category in tables.taxonomy().categories:
        assert (category, "") in tables.schemes()[scheme]
        for outcome in OUTCOMES:
            for permanence in PERMANENCES:
                label = tables.scheme_label(scheme, category, outcome, permanence)
                assert label in labels(scheme) if label else category == "not_a_bounce"


def test_table_names_what_exists_once_and_with_a_source() -> None:
    with (Path(tables.__file__).parent / "schemes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["scheme"], row["category"], row["when"]) for row in rows}) == len(rows)
    assert {row["category"] for row in rows} == set(tables.taxonomy().categories)
    # "unknown" is an outcome and a permanence; a row for it could be taken for either
    assert {row["when"] for row in rows} <= {"", *OUTCOMES, *PERMANENCES} - {"unknown"}
    assert all(row["source"] for row in rows)


def test_command_line_offers_the_schemes_of_the_table() -> None:
    assert tuple(tables.schemes()) == cli._SCHEMES


@pytest.mark.parametrize(("scheme", "dead"), [("hard-soft", "hard"), ("ses", "Permanent/General"), ("postmark", "HardBounce")])
def test_only_a_bad_address_has_a_label_that_others_suppress_by(scheme: str, dead: str) -> None:
    known = tables.taxonomy().categories.values()
    bad = {category.id for category in known if tables.scheme_label(scheme, category.id, "failed", "permanent") == dead}
    assert bad - {"address_syntax"} <= {category.id for category in known if category.may_suppress}
    assert all(tables.scheme_label(scheme, category, "delayed", "temporary") != dead for category in bad)


@pytest.mark.parametrize(
    ("text", "outcome", "expected"),
    [
        ("550 5.1.1 no such user", "unknown", {"powermta": "bad-mailbox", "hard-soft": "hard", "sparkpost": "10", "rfc3463": "5.1.1"}),
        ("450 4.1.1 no such user, try again later", "unknown", {"ses": "Transient/General", "hard-soft": "soft", "rfc3463": "4.1.1"}),
        ("452 4.2.2 mailbox full", "delayed", {"anymail": "deferred", "ses": "Transient/MailboxFull", "mailgun": "temporary/generic"}),
        ("552 5.2.2 mailbox full", "failed", {"anymail": "bounced/bounced", "kumomta": "QuotaIssues", "zonemta": "capacity"}),
        ("250 2.0.0 queued", "delivered", {"anymail": "delivered", "sisimai": "delivered", "rfc3463": "2.0.0", "powermta": ""}),
    ],
)
def test_label_of_a_verdict(text: str, outcome: str, expected: dict[str, str]) -> None:
    for scheme, label in expected.items():
        assert Classifier.load(scheme=scheme).classify(Reply(text, outcome=outcome)).scheme_label == label


def test_label_stands_behind_the_fields_and_a_column_of_its_name_gives_way() -> None:
    reply = Reply("552 5.2.2 mailbox full", columns={"scheme_label": "theirs"})
    row = Classifier.load(scheme="powermta").classify(reply).to_dict()
    assert list(row.items())[-3:] == [("error", None), ("scheme_label", "quota-issues"), ("input_scheme_label", "theirs")]
    assert "scheme_label" not in Classifier.load().classify(reply).to_dict()


def test_what_could_not_be_read_has_no_label() -> None:
    assert Classifier.load(scheme="powermta").classify(Reply("", error="x: cannot be read")).scheme_label == ""


def test_unknown_scheme_names_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="no scheme 'exchange'; choose one of powermta, kumomta"):
        Classifier.load(scheme="exchange")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_label_in_text(lang: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--lang", lang, "--scheme", "sendgrid", "552 5.2.2 mailbox full"]) == 0
    assert f"  {'Label' if lang == 'en' else '标签'}: Mailbox Unavailable\n" in capsys.readouterr().out
    assert main(["predict", "--lang", lang, "--scheme", "sendgrid", "452 4.7.28 rate limited", "552 5.2.2 mailbox full"]) == 0
    head, first, _ = capsys.readouterr().out.splitlines()
    assert first.index("Frequency or Volume Too High  ") == first.index("rate_limited") + 24
    assert ("Label" if lang == "en" else "标签") in head


@pytest.mark.parametrize("to", ["csv", "jsonl", "parquet"])
def test_label_in_every_format(to: str, tmp_path: Path) -> None:
    out = tmp_path / f"out.{to}"
    assert main(["predict", "--scheme", "ses", "--to", to, "-o", str(out), "552 5.2.2 mailbox full"]) == 0
    if to == "parquet":
        import pyarrow.parquet as pq

        row = pq.read_table(out).to_pylist()[0]
    else:
        row = json.loads(out.read_text()) if to == "jsonl" else next(csv.DictReader(out.read_text().splitlines()))
    assert row["scheme_label"] == "Transient/MailboxFull"
