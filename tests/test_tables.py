from __future__ import annotations

import pytest
from conftest import DATA

from bounceml import tables
from bounceml.learning import dataset

GROUPS = {
    "recipient": "user_unknown address_syntax mailbox_disabled mailbox_full mailing_list_restriction",
    "route": "host_unknown no_mx connection_refused network_timeout loop_detected queue_expired",
    "message": "message_too_big content_rejected virus feature_not_supported",
    "reputation": "spam_suspected sender_blocked ip_reputation dnsbl_listed relay_denied",
    "identity": "auth_failure login_required sender_domain_invalid helo_or_rdns tls_required",
    "limits": "rate_limited concurrency_limited too_many_recipients greylisted system_busy system_error",
    "protocol": "protocol_error command_syntax",
    "none": "not_a_bounce unknown",
}


def test_taxonomy_ids_are_the_contract() -> None:
    known = tables.taxonomy()
    assert list(known.groups) == list(GROUPS)
    for group, names in GROUPS.items():
        assert [c.id for c in known.categories.values() if c.group == group] == names.split()


def test_only_a_dead_address_may_be_suppressed() -> None:
    assert {c.id for c in tables.taxonomy().categories.values() if c.may_suppress} == {
        "user_unknown",
        "mailbox_disabled",
        "host_unknown",
        "no_mx",
    }


def test_no_text_stands_twice() -> None:
    known = tables.taxonomy()
    texts = [text[lang] for c in known.categories.values() for text in (c.cause, c.remedy) for lang in tables.LANGUAGES]
    assert len(texts) == len(set(texts))


def test_status_codes_name_categories() -> None:
    assert set(tables.status_codes().values()) <= set(tables.taxonomy().categories)
    assert not {"0.0", "7.1", "7.0"} & set(tables.status_codes())


@pytest.mark.parametrize(
    ("host", "operator"), [("zen.spamhaus.org", "spamhaus"), ("spamcop.net", "spamcop"), ("mx.example.com", None), ("org", None)]
)
def test_blocklist_of(host: str, operator: str | None) -> None:
    found = tables.blocklist_of(host)
    assert (found.operator if found else None) == operator


def test_the_corpus_keeps_its_promises() -> None:
    examples = dataset.load(DATA)
    assert len(examples) >= 900
    assert all(e.source and e.language and e.provider for e in examples)
    assert {e.category for e in examples} == set(tables.taxonomy().categories)
