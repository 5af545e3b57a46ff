"""Verdicts on tables in memory: pyarrow, pandas, Polars."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from bounceml import Classifier, arrow
from bounceml.errors import InputError, UsageError
from bounceml.values import FIELDS

GIVEN = {"id": [7, 8], "reply": ["552 5.2.2 mailbox full", "550 5.1.1 no such user"], "status": ["sent", None]}
LOGGED = "May  1 12:00:00 mx postfix/smtp[7]: 4F2A91C0: to=<{}@example.com>, relay=none, dsn=5.4.4, status=bounced (no such host)"


def told(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


def test_a_table_in_memory(classifier: Classifier) -> None:
    found = arrow.classify(pa.table(GIVEN), classifier=classifier)
    assert found.column_names == [*FIELDS, "input_reply", "input_status"]
    assert told(found, "id", "category", "status", "input_status") == [
        ("7", "mailbox_full", "5.2.2", "sent"),
        ("8", "user_unknown", "5.1.1", None),
    ]
    assert found.schema == arrow.output_schema(pa.table(GIVEN).schema)


def test_verdicts_are_those_of_the_classifier(classifier: Classifier) -> None:
    replies = [
        *GIVEN["reply"],
        "",
        "553 5.1.3 <joe＠gmial．com>: bad recipient address syntax",
        "421 4.7.0 try again later",
        "550 MI:SPF mx",
    ]
    found = arrow.classify({"reply": replies * 2}, classifier=classifier).select(FIELDS).to_pylist()
    assert found == [{name: verdict.to_dict()[name] for name in FIELDS} for verdict in map(classifier.classify, replies * 2)]


@pytest.mark.parametrize("rows", [0, 1, 9000])
def test_tables_of_any_size(classifier: Classifier, rows: int) -> None:
    found = arrow.classify(pa.table({"reply": pa.array(["552 full"] * rows, pa.string())}), classifier=classifier)
    assert len(found) == rows
    assert found.schema.names == [*FIELDS, "input_reply"]


def test_a_record_batch(classifier: Classifier) -> None:
    assert told(arrow.classify(pa.record_batch(GIVEN), classifier=classifier), "id") == [("7",), ("8",)]


def test_pandas(classifier: Classifier) -> None:
    pandas = pytest.importorskip("pandas")
    given = pandas.DataFrame(GIVEN | {"at": pandas.to_datetime(["2026-01-02 03:04:05.123456789", None])})
    found = arrow.classify(given, classifier=classifier).to_pandas()
    assert list(found["category"]) == ["mailbox_full", "user_unknown"]
    assert found["at"].iloc[0].nanosecond == 789


def test_polars(classifier: Classifier) -> None:
    polars = pytest.importorskip("polars")
    given = polars.DataFrame(GIVEN).with_columns(polars.col("status").cast(polars.Categorical))
    found = polars.from_arrow(arrow.classify(given, classifier=classifier))
    assert found["category"].to_list() == ["mailbox_full", "user_unknown"]
    assert found["input_status"].to_list() == ["sent", None]


def test_labels_that_were_asked_for() -> None:
    found = arrow.classify(pa.table(GIVEN), classifier=Classifier.load(scheme="powermta"))
    assert told(found, "scheme_label") == [("quota-issues",), ("bad-mailbox",)]
    assert found.column_names.index("scheme_label") == len(FIELDS)


def test_columns_pass_in_their_types(classifier: Classifier) -> None:
    given = {
        "reply": ["552 full", "x" * 1_100_000, "552 full"],
        "input": ["a", "b", "c"],
        "at": pa.array([1, 2, 3], pa.timestamp("ns")),
        "tags": [["a"], [], None],
        "more": pa.array([{"n": 1}, None, {"n": 3}], pa.struct([("n", pa.int8())])),
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        "kind": pa.array(["a", "a", "b"]).dictionary_encode(),
    }
    found = arrow.classify(pa.table(given), classifier=classifier)
    for name in ("input", "at", "tags", "more", "map", "kind"):
        assert found.schema.field(name).type == pa.table(given).schema.field(name).type
        assert found[name].take([0, 2]).combine_chunks() == pa.table(given)[name].take([0, 2]).combine_chunks()
    assert told(found, "error", "tags")[1] == ("row 2: a reply of more than 1048576 characters; it was not read", None)


def test_a_log_line_of_several_recipients_gives_a_row_for_each(classifier: Classifier) -> None:
    sent = (
        "to=joe@example.com, ann@example.com, delay=00:00:01, mailer=esmtp, relay=mx.example.com [192.0.2.1], dsn=5.1.1, stat=User unknown"
    )
    given = {"reply": [LOGGED.format("amy"), f"May  1 12:00:00 mx sendmail[7]: x41A0: {sent}"], "n": [1, 2]}
    found = arrow.classify(given, classifier=classifier)
    assert told(found, "recipient", "n") == [("amy@example.com", 1), ("joe@example.com", 2), ("ann@example.com", 2)]


def test_what_is_no_table_is_refused(classifier: Classifier) -> None:
    with pytest.raises(InputError, match="no column 'reply'; there are text"):
        arrow.classify({"text": ["552 full"]}, classifier=classifier)
    assert told(arrow.classify({"text": ["552 full"]}, None, classifier), "category") == [("mailbox_full",)]
    with pytest.raises(UsageError, match="int is no table"):
        arrow.classify(7)
    with pytest.raises(UsageError, match="two columns are called 'reply'"):
        arrow.classify(pa.table([["a"], ["b"]], ["reply", "reply"]))


def test_times_of_a_table(classifier: Classifier) -> None:
    given = {"reply": ["552 full"], "time": pa.array([datetime(2026, 1, 2)], pa.timestamp("ns"))}
    assert told(arrow.classify(given, classifier=classifier), "time") == [(datetime(2026, 1, 2),)]
