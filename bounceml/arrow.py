"""Tables in Apache Arrow: rows to replies, and findings to columns. Parquet, Spark, pandas and Polars all come through here.

Only what is looked at becomes a Python value: the columns of the input's rows go to the output as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from bounceml.cells import as_json
from bounceml.errors import InputError, UsageError
from bounceml.parsing import rows
from bounceml.parsing.containers import MAX_LINE
from bounceml.values import FIELDS, OWN, Finding, Reply, Verdict, carried_columns, carried_name

try:
    import pyarrow as pa
except ImportError:
    raise UsageError("Parquet tables need a package more; install it with: pip install 'bounceml[parquet]'") from None

# What is no text among the verdict's fields.
_TYPES = {"reply_code": pa.int32(), "retry_after": pa.int64(), "confidence": pa.float64(), "suppress": pa.bool_()}
_PARTS = {
    "evidence": {"text": pa.string(), "by": pa.string(), "weight": pa.float64()},
    "alternatives": {"category": pa.string(), "probability": pa.float64()},
}

_SHARED_TYPES = {name: _TYPES.get(name, pa.string()) for name in FIELDS[OWN:]} | {
    name: pa.list_(pa.struct(list(parts.items()))) for name, parts in _PARTS.items()
}
REST = "input"  # the last column: what of the input's row has no column of its own


# --- rows in ----------------------------------------------------------------------------------------------------


class Row(Mapping[str, object]):
    """One row of a record batch, its values made when they are asked for."""

    __slots__ = ("batch", "number")

    def __init__(self, batch: pa.RecordBatch, number: int) -> None:
        self.batch = batch
        self.number = number

    def __getitem__(self, name: str) -> object:
        if name not in self.batch.schema.names:
            raise KeyError(name)
        return _value(self.batch.column(name)[self.number])

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.schema.names)

    def __len__(self) -> int:
        return len(self.batch.schema.names)


def replies(batch: pa.RecordBatch, column: str | None = None, source: str | None = None, first: int = 1) -> Iterator[Reply]:
    """Yield one reply for each row; all columns but ``id`` go with it.

    Parameters
    ----------
    batch
        Rows of a table.
    column
        The column that holds the reply; where none is named, the first of ``rows.REPLY_COLUMNS`` that is there.
    source
        The table's path, where it has one.
    first
        Number of the first row in the table.

    """
    batch = _plain(batch)
    names = batch.schema.names
    carried = batch.select([name for name in names if name != "id"]) if "id" in names else batch
    try:
        wanted = rows.reply_column(names, column)
    except InputError as error:
        for number in range(batch.num_rows):
            place = rows.place(source, first + number)
            yield Reply("", source=place, columns=Row(carried, number), error=f"{place or f'row {first + number}'}: {error}")
        return
    empty = [None] * batch.num_rows
    ids = _values(batch.column("id")) if "id" in names else empty
    recipients = _first_of(batch, rows.RECIPIENT_COLUMNS, empty)
    moments = _first_of(batch, rows.TIME_COLUMNS, empty)
    told = zip(_values(batch.column(wanted)), ids, recipients, moments, strict=True)
    for number, (text, given, recipient, moment) in enumerate(told):
        known = rows.Known(
            None if given is None else str(given),
            rows.place(source, first + number),
            None if recipient is None else str(recipient),
            Row(carried, number),
            rows.time_of(moment),
        )
        text = "" if text is None else text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else str(text)
        if len(text) > MAX_LINE:
            why = f"{known.source or f'row {first + number}'}: a reply of more than {MAX_LINE} characters; it was not read"
            yield Reply("", id=known.id, source=known.source, recipient=known.recipient, time=known.time, error=why)
        else:
            yield from rows.replies_in(text, known)


def _value(scalar: pa.Scalar) -> object:
    """The value in Python; bytes for what is no UTF-8, text for a time out of Python's range."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.cast(pa.binary()).as_py()
    except ValueError:
        return str(scalar.cast(pa.string()))


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except ValueError:  # a value that Python has no like of; a UnicodeDecodeError is one of these
        return [_value(scalar) for scalar in column]


def _first_of(batch: pa.RecordBatch, names: tuple[str, ...], empty: list[None]) -> list[Any]:
    """The first value of these columns in each row that says something."""
    columns = [_values(batch.column(name)) for name in names if name in batch.schema.names]
    if len(columns) < 2:
        return [value or None for value in columns[0]] if columns else empty
    return [next(filter(None, values), None) for values in zip(*columns, strict=True)]


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch without what Python has no value for: times in nanoseconds, as microseconds where that loses nothing, else as text."""
    for number, field in enumerate(batch.schema):
        if getattr(field.type, "unit", "") == "ns":
            try:
                column = batch.column(number).cast(_microseconds(field.type))
            except pa.ArrowException:
                column = batch.column(number).cast(pa.string())
            batch = batch.set_column(number, field.name, column)
    return batch


def _microseconds(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.time64("us") if pa.types.is_time(kind) else pa.duration("us")


# --- verdicts out -----------------------------------------------------------------------------------------------


class Encoder:
    """Makes record batches of findings.

    ``labels`` are those of the verdict's labels that were asked for, ``carried`` the columns behind the verdict's fields; what a row
    has besides, or in another type, goes into ``input`` as JSON.
    """

    def __init__(self, labels: Sequence[str], carried: pa.Schema) -> None:
        self.labels = labels
        self.carried = carried

    @classmethod
    def of(cls, first: list[Finding]) -> Encoder:
        """Return the encoder for findings like these."""
        labels = list(first[0].shared.labels()) if first else []
        batch = _whole_rows(first)
        if batch is not None:
            return cls(labels, batch.schema)
        given = [_flat(finding) for finding in first]
        names = [name for name in dict.fromkeys(chain.from_iterable(given)) if name != REST]
        return cls(labels, pa.schema([(name, _type([row.get(name) for row in given])) for name in names]))

    @property
    def schema(self) -> pa.Schema:
        """All columns of the output."""
        verdict = [(name, pa.string()) for name in FIELDS[:OWN]] + [(name, _SHARED_TYPES[name]) for name in FIELDS[OWN:]]
        return pa.schema([*verdict, *((name, pa.string()) for name in self.labels), *self.carried, (REST, pa.string())])

    def __call__(self, findings: list[Finding]) -> pa.RecordBatch:
        """Return one row for each finding."""
        own = list(zip(*(finding.own for finding in findings), strict=True)) or [()] * OWN
        columns = [_array(list(values), pa.string()) for values in own]
        columns += self._shared([finding.shared for finding in findings])
        columns += self._carried(findings)
        return pa.record_batch(columns, schema=self.schema)

    def _shared(self, verdicts: list[Verdict]) -> Iterator[pa.Array]:
        """The columns that replies of one wording share, each of their values made once."""
        places: dict[int, int] = {}
        numbers = pa.array([places.setdefault(id(verdict), len(places)) for verdict in verdicts], pa.int32())
        different = list({id(verdict): verdict.to_dict() for verdict in verdicts}.values())
        for name in (*FIELDS[OWN:], *self.labels):
            yield _array([row[name] for row in different], _SHARED_TYPES.get(name, pa.string())).take(numbers)

    def _carried(self, findings: list[Finding]) -> list[pa.Array]:
        batch = _whole_rows(findings)
        if batch is not None and batch.schema.equals(self.carried):
            return [*batch.columns, pa.nulls(len(findings), pa.string())]
        given = [_flat(finding) for finding in findings]
        rests = [{name: value for name, value in row.items() if name not in self.carried.names} for row in given]
        columns = [_fitting(field.name, field.type, [row.get(field.name) for row in given], rests) for field in self.carried]
        return [*columns, _array([as_json(rest) if rest else None for rest in rests], pa.string())]


def _whole_rows(findings: list[Finding]) -> pa.RecordBatch | None:
    """The columns of the rows that the findings stand in, where these are of one record batch and of simple types."""
    rows_of = [finding.reply.columns for finding in findings]
    first = rows_of[0] if rows_of else None
    if not isinstance(first, Row) or not all(isinstance(row, Row) and row.batch is first.batch for row in rows_of):
        return None
    names = first.batch.schema.names
    if REST in names or len(set(names)) < len(names) or any(pa.types.is_nested(kind) for kind in first.batch.schema.types):
        return None
    renamed = first.batch.rename_columns([carried_name(name, names) for name in names])
    return renamed.take(pa.array([row.number for row in rows_of], pa.int32()))  # type: ignore[union-attr]  # all are rows


def _flat(finding: Finding) -> dict[str, object]:
    """The columns of the input's row; lists and objects as JSON, as two rows seldom have the same fields in them."""
    carried = carried_columns(finding.reply.columns or {})
    return {name: as_json(value) if isinstance(value, dict | list) else value for name, value in carried.items()}


def _type(values: list[object]) -> Any:
    """The type of a column; text where it is empty, or where its values have no type in common."""
    try:
        found = pa.array(values).type
    except (pa.ArrowException, OverflowError, UnicodeError):
        return pa.string()
    return pa.string() if pa.types.is_null(found) else found


def _array(values: list[Any], kind: Any) -> Any:
    try:
        return pa.array(values, kind)
    except UnicodeError:
        return pa.array([_encodable(value) for value in values], kind)


def _encodable(value: object) -> object:
    """The same value with half a surrogate pair, which JSON can name and UTF-8 cannot, as its escape."""
    if isinstance(value, dict):
        return {name: _encodable(item) for name, item in value.items()}
    if isinstance(value, list):
        return list(map(_encodable, value))
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _fitting(name: str, kind: Any, values: list[Any], rests: list[dict[str, object]]) -> Any:
    """The array of one carried column; each value that is not of its type moves to the row's rest."""
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError, UnicodeError):
        pass
    for number, value in enumerate(values):
        try:
            pa.scalar(value, kind)
        except (pa.ArrowException, OverflowError, UnicodeError):
            rests[number][name] = value
            values[number] = None
    return pa.array(values, kind)
