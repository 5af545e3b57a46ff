"""Verdicts in Apache Spark: each executor hands its record batches to ``arrow.judged``.

What a classifier is opened with, beyond the package, travels in the function that Spark ships. From 1 MB on Spark broadcasts that itself,
once to an executor (``spark.broadcast.UDFCompressionThreshold``). A Python process of an executor opens the classifier once, and Spark
uses the process again for the next task.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bounceml import __version__, arrow, artefact, process
from bounceml.classifier import Classifier
from bounceml.errors import BouncemlError, InputError, UsageError

try:
    from pyspark.errors import PySparkException
    from pyspark.sql import Observation, SparkSession, functions, types
    from pyspark.sql.pandas.types import from_arrow_schema
    from pyspark.sql.utils import is_remote
except ImportError:
    raise UsageError("Spark needs more packages; install them with: pip install 'bounceml[spark]'") from None

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame


FORMATS = ("parquet", "csv", "jsonl")  # that are read and written here
_SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".json": "jsonl"}
_CSV: dict[str, bool | str] = {
    "header": True,
    "quote": '"',
    "escape": '"',
    "emptyValue": "",
}  # as RFC 4180 has it; Spark's own default escapes by a backslash


# --- on the driver ----------------------------------------------------------------------------------------------


def classify(
    df: DataFrame,
    column: str | None = "reply",
    *,
    model: Path | str | None = None,
    lang: str = "en",
    threshold: float | None = None,
    scheme: str | None = None,
    audience: str = "sender",
    policy: Path | str | None = None,
    rules: Path | str | None = None,
) -> DataFrame:
    """Return the verdicts on a DataFrame, one row for each reply (a log line may tell of several recipients).

    The columns are the verdict's fields, the labels asked for, and all columns of ``df`` but ``id``, which is the verdict's; one that is
    named like a field has ``input_`` before its name. They pass in their types, so nothing is left over for a column ``input``.

    Parameters
    ----------
    df
        A batch or streaming DataFrame.
    column
        The column that holds the reply; with None, the first of ``rows.REPLY_COLUMNS`` that is there.
    model, lang, threshold, scheme, audience, policy, rules
        As in ``Classifier.load``; folder and files are read here, on the driver, and travel with the job.

    Raises
    ------
    InputError
        Where there is no such column.
    UsageError, DataError, ModelError
        As ``Classifier.load``.

    """
    options: dict[str, Any] = {"lang": lang, "threshold": threshold, "scheme": scheme, "audience": audience}
    files: dict[str, Any] = {"folder": model, "policy": policy, "rules": rules}
    wanted = arrow.reply_column(df.columns, column)
    schema = _schema(df, arrow.labels_of(Classifier.load(**options, **files)))  # whatever is wrong is told here, not by an executor
    shipped = _shipped(options, files)
    with warnings.catch_warnings():
        # mapInArrow asks for the version of pandas, and never uses it.
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        return df.mapInArrow(partial(_judged, shipped=shipped, column=wanted), schema)


def _schema(df: DataFrame, labels: list[str]) -> types.StructType:
    """The columns of the verdicts; ``arrow.judged`` gives them in this order, and Spark takes the names from here."""
    verdict = from_arrow_schema(arrow.verdict_schema(labels))
    carried = [field for field in df.schema if field.name != "id"]
    taken = {name.lower() for name in verdict.names}
    for field, name in zip(carried, arrow.carried_names([field.name for field in carried]), strict=True):
        while name.lower() in taken:  # to Spark, "Status" is "status"
            name = f"input_{name}"
        taken.add(name.lower())
        verdict = verdict.add(types.StructField(name, field.dataType))
    return verdict


# --- folders in, a folder out -----------------------------------------------------------------------------------


def predict(inputs: Sequence[str], form: str, column: str | None, to: str, output: str, **options: Any) -> int:
    """Judge tables in files and folders, and write a folder; return how many replies could not be read.

    Parameters
    ----------
    inputs
        Paths, or addresses that Spark knows (``s3a://…``).
    form
        One of ``FORMATS``; or ``auto``, to tell it from the suffixes.
    column
        As in ``classify``.
    to
        One of ``FORMATS``.
    output
        The folder; it must not be there yet.
    **options
        As of ``classify``.

    Raises
    ------
    UsageError
        Where the folder is there already, a form is not told, or Java is missing.
    InputError
        Where an input is not there, or has no such column.
    BouncemlError
        Where Spark gives up.

    """
    form = _form(inputs) if form == "auto" else form
    unread = Observation()
    try:
        found = classify(_read(_session(), list(inputs), form), column, **options)
        _write(found.observe(unread, functions.count("error").alias("rows")), to, output)
        return int(unread.get["rows"])
    except PySparkException as error:
        why = str(error).strip().splitlines()[0]
        if "JAVA_GATEWAY_EXITED" in why:
            raise UsageError("Spark needs Java; install version 17 or later, or say where it is in JAVA_HOME") from None
        if "PATH_ALREADY_EXISTS" in why:
            raise UsageError(f"{output} is there already; remove it, or name another folder with -o") from None
        if "PATH_NOT_FOUND" in why:
            raise InputError(f"Spark finds no such file or folder: {', '.join(inputs)}") from None
        raise BouncemlError(f"Spark gave up: {why}") from None


def _session() -> SparkSession:
    """The session that spark-submit or Spark's own settings say."""
    session = SparkSession.builder.appName("bounceml").getOrCreate()
    if not is_remote() and str(session.sparkContext.master).startswith("local") and "PYSPARK_PYTHON" not in os.environ:
        session.sparkContext.pythonExec = sys.executable  # on this machine, that is the Python which has bounceml
    return session


def _form(inputs: Sequence[str]) -> str:
    """What the inputs are, by their suffixes or those of the files in a folder."""
    found = set()
    for given in inputs:
        names = [given]
        for _, _, files in os.walk(given):
            names += files
        found |= {_SUFFIXES[suffix] for name in names for suffix in Path(name).suffixes if suffix in _SUFFIXES}
    if len(found) == 1:
        return found.pop()
    told = f"suffixes of {' and '.join(sorted(found))}" if found else "no suffix that tells what is in them"
    raise UsageError(f"{', '.join(inputs)}: {told}; name one form with --format: {', '.join(FORMATS)}")


def _read(session: SparkSession, paths: list[str], form: str) -> DataFrame:
    if form == "parquet":
        return session.read.option("mergeSchema", True).parquet(*paths)  # without it the columns of one file are those of all
    if form == "jsonl":
        return session.read.json(paths)
    header = session.read.text(paths[0]).first()
    delimiter = max(",\t;", key=header[0].count) if header else ","
    # A cell may hold line ends; and where the files differ in their headers, that is an error and not a wrong column.
    found = session.read.options(**_CSV, sep=delimiter, multiLine=True, enforceSchema=False).csv(paths)
    return found.na.fill("")  # as on one machine an empty cell is text


def _write(df: DataFrame, to: str, output: str) -> None:
    if to == "parquet":
        df.write.parquet(output)
    elif to == "jsonl":
        df.write.option("ignoreNullFields", False).json(output)
    else:
        nested = (types.ArrayType, types.MapType, types.StructType)
        for field in df.schema:
            if isinstance(field.dataType, nested):
                df = df.withColumn(field.name, functions.to_json(df[field.name]))
        df.write.options(**_CSV).csv(output)


# --- on the way, and on the executors ---------------------------------------------------------------------------


class _Shipped(NamedTuple):
    """What a classifier is opened with elsewhere; ``key`` tells it from others, ``content`` are the user's files by a name of ours."""

    version: str
    key: str
    options: dict[str, Any]
    paths: dict[str, str]
    content: dict[str, bytes]


def _shipped(options: dict[str, Any], files: dict[str, Any]) -> _Shipped:
    """Read what of the user's files a classifier needs."""
    paths: dict[str, str] = {}
    content: dict[str, bytes] = {}
    for option, given in files.items():
        if given:
            path = Path(given)
            parts = [path / artefact.MANIFEST, path / artefact.ARRAYS] if path.is_dir() else [path]
            paths[option] = option if path.is_dir() else f"{option}/{path.name}"
            content |= {f"{option}/{part.name}": part.read_bytes() for part in parts}
    digests = [hashlib.sha256(part).hexdigest() for part in content.values()]
    return _Shipped(__version__, repr((options, paths, digests)), options, paths, content)


def _classifier(shipped: _Shipped) -> Classifier:
    """Open the classifier that was shipped, or take the one that this process has opened before."""
    if shipped.version != __version__:
        raise UsageError(f"bounceml is of version {shipped.version} on the driver and {__version__} here; install the same on each node")
    if shipped.key not in _opened:
        _opened.clear()  # 40 MB each, and a process serves one job after the other
        with tempfile.TemporaryDirectory(prefix="bounceml-", ignore_cleanup_errors=True) as folder:
            for name, content in shipped.content.items():
                path = Path(folder, name)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
            files = {option: Path(folder, path) for option, path in shipped.paths.items()}
            _opened[shipped.key] = Classifier.load(**shipped.options | files)
        process.for_many()
    return _opened[shipped.key]


_opened: dict[str, Classifier] = {}  # that of this process, by its key


def _judged(batches: Iterator[pa.RecordBatch], shipped: _Shipped, column: str) -> Iterator[pa.RecordBatch]:
    classifier = _classifier(shipped)
    for batch in batches:
        yield arrow.judged(batch, classifier, column)
