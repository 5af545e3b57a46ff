"""Tables in Apache Arrow: rows to replies, and findings to columns. Parquet, Spark, pandas and Polars all come through here.

Only what is looked at becomes a Python value: the columns of the input's rows go to the output as they are.

>>> from bounceml import arrow
>>> arrow.classify({"id": ["a7"], "reply": ["552 5.2.2 mailbox full"]}).select(["id", "category", "suppress"]).to_pylist()
[{'id': 'a7', 'category': 'mailbox_full', 'suppress': False}]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

from bounceml.cells import as_json
from bounceml.errors import InputError, UsageError
from bounceml.parsing import rows
from bounceml.parsing.containers import MAX_LINE
from bounceml.values import FIELDS, LABELS, OWN, Finding, Reply, Verdict, carried_columns, carried_name

if TYPE_CHECKING:
    from bounceml.classifier import Classifier

try:
    import pyarrow as pa
except ImportError:
    raise UsageError("Parquet tables need a package more; install it with: pip install 'bounceml[parquet]'") from None

# What is no text among the verdict's fields.
_TYPES = {"reply_code": pa.int32(), "retry_after": pa.int64(), "confidence": pa.float64(), "suppress": pa.bool_()}
_PARTS = {
    "evidence": pa.struct([("text", pa.string()), ("by", pa.string()), ("weight", pa.float64())]),
    "alternatives": pa.struct([("category", pa.string()), ("probability", pa.float64())]),
}
_TYPES |= {name: pa.list_(parts) for name, parts in _PARTS.items()}
_AT_ONCE = 4096  # rows of a table in memory that are judged at once
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


def replies(batch: pa.RecordBatch, column: str | None = None, source: str | None = None, first: int | None = 1) -> Iterator[Reply]:
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
        Number of the first row in the table; None where nobody knows it.

    """
    batch = _plain(batch)
    names = batch.schema.names
    carried = batch.select([name for name in names if name != "id"]) if "id" in names else batch
    empty = [None] * batch.num_rows
    places = empty if first is None else [rows.place(source, first + number) for number in range(batch.num_rows)]
    try:
        wanted = rows.reply_column(names, column)
    except InputError as error:
        for number, place in enumerate(places):
            yield Reply("", source=place, columns=Row(carried, number), error=_refused(place, first, number, str(error)))
        return
    ids = _values(batch.column("id")) if "id" in names else empty
    recipients = _first_of(batch, rows.RECIPIENT_COLUMNS, empty)
    moments = _first_of(batch, rows.TIME_COLUMNS, empty)
    told = zip(_values(batch.column(wanted)), ids, places, recipients, moments, strict=True)
    for number, (text, given, place, recipient, moment) in enumerate(told):
        known = rows.Known(
            None if given is None else str(given),
            place,
            None if recipient is None else str(recipient),
            Row(carried, number),
            rows.time_of(moment),
        )
        text = "" if text is None else text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else str(text)
        if len(text) > MAX_LINE:
            why = _refused(place, first, number, f"a reply of more than {MAX_LINE} characters; it was not read")
            yield Reply("", id=known.id, source=place, recipient=known.recipient, time=known.time, error=why)
        else:
            yield from rows.replies_in(text, known)


def _refused(place: str | None, first: int | None, number: int, why: str) -> str:
    """What a row says that is not read, with its place in front where that is known."""
    return why if first is None else f"{place or f'row {first + number}'}: {why}"


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
        return pa.schema([*verdict_schema(self.labels), *self.carried, (REST, pa.string())])

    def __call__(self, findings: list[Finding]) -> pa.RecordBatch:
        """Return one row for each finding."""
        return pa.record_batch([*_columns(findings, self.labels), *self._carried(findings)], schema=self.schema)

    def _carried(self, findings: list[Finding]) -> list[pa.Array]:
        batch = _whole_rows(findings)
        if batch is not None and batch.schema.equals(self.carried):
            return [*batch.columns, pa.nulls(len(findings), pa.string())]
        given = [_flat(finding) for finding in findings]
        rests = [{name: value for name, value in row.items() if name not in self.carried.names} for row in given]
        columns = [_fitting(field.name, field.type, [row.get(field.name) for row in given], rests) for field in self.carried]
        return [*columns, _array([as_json(rest) if rest else None for rest in rests], pa.string())]


def verdict_schema(labels: Sequence[str] = ()) -> pa.Schema:
    """Return the columns of a verdict that has these labels."""
    return pa.schema([(name, _TYPES.get(name, pa.string())) for name in (*FIELDS, *labels)])


def _columns(findings: list[Finding], labels: Sequence[str]) -> list[pa.Array]:
    """The columns of a verdict for each finding; what replies of one wording share is made once."""
    own = list(zip(*(finding.own for finding in findings), strict=True)) or [()] * OWN
    columns = [_array(list(values), pa.string()) for values in own]
    different = {id(finding.shared): finding.shared for finding in findings}
    numbers = dict(zip(different, range(len(different)), strict=True))
    places = pa.array([numbers[id(finding.shared)] for finding in findings], pa.int32())
    values = list(zip(*different.values(), strict=True)) or [()] * len(Verdict._fields)
    for field in list(verdict_schema(labels))[OWN:]:
        column = values[Verdict._fields.index(field.name)]
        made = _lists(column, _PARTS[field.name]) if field.name in _PARTS else _array(list(column), field.type)
        columns.append(made.take(places))
    return columns


def _lists(column: Sequence[tuple[Any, ...]], parts: pa.StructType) -> pa.Array:
    """The column of these lists of named tuples; verdicts that differ elsewhere still share theirs, so each is made once."""
    different = {id(items): items for items in column}
    numbers = dict(zip(different, range(len(different)), strict=True))
    ends = pa.array(accumulate(map(len, different.values()), initial=0), pa.int32())
    told = list(zip(*chain.from_iterable(different.values()), strict=True)) or [()] * parts.num_fields
    values = [_array(list(part), field.type) for part, field in zip(told, parts, strict=True)]
    lists = pa.ListArray.from_arrays(ends, pa.StructArray.from_arrays(values, fields=list(parts)))
    return lists.take(pa.array([numbers[id(items)] for items in column], pa.int32()))


def _whole_rows(findings: list[Finding]) -> pa.RecordBatch | None:
    """The columns of the rows that the findings stand in, where these are of one record batch."""
    rows_of = [row for finding in findings if (row := finding.reply.columns) is not None]  # one that is too long has none
    first = rows_of[0] if rows_of else None
    if not isinstance(first, Row) or not all(isinstance(row, Row) and row.batch is first.batch for row in rows_of):
        return None
    names = first.batch.schema.names
    if REST in names or len(set(names)) < len(names):
        return None
    return _rows(first.batch, findings)


def _rows(batch: pa.RecordBatch, findings: list[Finding]) -> pa.RecordBatch:
    """The rows of the batch that the findings stand in, columns called as beside the verdict's fields; empty where a finding has none."""
    numbers = [row.number if isinstance(row := finding.reply.columns, Row) else None for finding in findings]
    return batch.rename_columns(carried_names(batch.schema.names)).take(pa.array(numbers, pa.int32()))


def carried_names(names: Sequence[str]) -> list[str]:
    """Return what the columns of a table are called beside the verdict's fields."""
    return [carried_name(name, names) for name in names]


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


# --- rows in, verdicts out --------------------------------------------------------------------------------------


def classify(data: Any, column: str | None = "reply", classifier: Classifier | None = None) -> pa.Table:
    """Return the verdicts on a table in memory, one row for each reply (a log line may tell of several recipients).

    Parameters
    ----------
    data
        A table of pyarrow, pandas, Polars, DuckDB or whatever else hands out Arrow (``__arrow_c_stream__``), or a dictionary of columns.
    column
        The column that holds the reply; with None, the first of ``rows.REPLY_COLUMNS`` that is there.
    classifier
        Who judges; the default model, in English, where none is given.

    Returns
    -------
    pa.Table
        The columns of ``output_schema``; ``.to_pandas()`` and ``polars.from_arrow`` take it from here.

    Raises
    ------
    InputError
        Where there is no such column.
    UsageError
        Where the data is no table, or two of its columns have one name.

    Examples
    --------
    >>> found = classify({"text": ["550 5.1.1 no such user"], "status": ["sent"]}, column="text")
    >>> found.select(["category", "status", "input_status"]).to_pylist()
    [{'category': 'user_unknown', 'status': '5.1.1', 'input_status': 'sent'}]

    """
    from bounceml.classifier import Classifier

    try:
        table = data if isinstance(data, pa.Table) else pa.table(data)
    except TypeError:
        raise UsageError(f"{type(data).__name__} is no table; give one of pyarrow, pandas, Polars, or a dictionary of columns") from None
    wanted = reply_column(table.schema.names, column)
    table = table.cast(pa.schema([field.with_type(_takable(field.type)) for field in table.schema]))
    judge = classifier or Classifier.load()
    schema = output_schema(table.schema, labels_of(judge))
    batches = table.to_batches(_AT_ONCE)
    numbers = accumulate(map(len, batches), initial=1)
    return pa.Table.from_batches([judged(batch, judge, wanted, first) for first, batch in zip(numbers, batches, strict=False)], schema)


def _takable(kind: pa.DataType) -> pa.DataType:
    """The type itself; for the views that Polars hands out, whose rows Arrow cannot yet take, the plain one."""
    return {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}.get(kind, kind)


def judged(batch: pa.RecordBatch, classifier: Classifier, column: str, first: int | None = None) -> pa.RecordBatch:
    """Return the verdicts on the rows of a batch, with the columns of ``output_schema``; parameters as of ``replies``."""
    found = [classifier.find(reply) for reply in replies(batch, column, None, first)]
    labels = labels_of(classifier)
    carried = _rows(batch.select(_besides_id(batch.schema)), found)
    return pa.record_batch([*_columns(found, labels), *carried.columns], schema=output_schema(batch.schema, labels))


def output_schema(schema: pa.Schema, labels: Sequence[str] = ()) -> pa.Schema:
    """Return the columns of the verdicts on a table: the verdict's fields, the labels asked for, and the table's columns but ``id``.

    These pass through in their types, nested ones too; so nothing is left over for a column ``input``, as where tables meet.
    """
    names = _besides_id(schema)
    carried = [schema.field(name).with_name(called) for name, called in zip(names, carried_names(names), strict=True)]
    return pa.schema([*verdict_schema(labels), *carried])


def labels_of(classifier: Classifier) -> list[str]:
    """Return the names of the labels that a classifier's verdicts have."""
    asked = (classifier.voice.scheme, classifier.rules)
    return [name for name, given in zip(LABELS, asked, strict=True) if given is not None]


def reply_column(names: Sequence[str], column: str | None) -> str:
    """Return the column that holds the reply, among the columns of a table.

    Raises
    ------
    InputError
        Where there is no such column.
    UsageError
        Where two columns have one name.

    """
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two columns are called {twice[0]!r}; give each a name of its own")
    return rows.reply_column(names, column)


def _besides_id(schema: pa.Schema) -> list[str]:
    return [name for name in schema.names if name != "id"]
