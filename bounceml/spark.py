"""Verdicts in Apache Spark: each executor hands its record batches to ``arrow.judged``.

What a classifier is opened with, beyond the package, travels in the function that Spark ships. From 1 MB on Spark broadcasts that itself,
once to an executor (``spark.broadcast.UDFCompressionThreshold``), and Spark Connect, which has no files to ship, takes it too. A
Python process of an executor opens the classifier once, and Spark uses the process again for the next task.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bounceml import __version__, arrow, artefact
from bounceml.classifier import Classifier
from bounceml.errors import UsageError

try:
    from pyspark.sql.pandas.types import from_arrow_schema
    from pyspark.sql.types import StructField, StructType
except ImportError:
    raise UsageError("Spark needs more packages; install them with: pip install 'bounceml[spark]'") from None

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame


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


def _schema(df: DataFrame, labels: list[str]) -> StructType:
    """The columns of the verdicts; ``arrow.judged`` gives them in this order, and Spark takes the names from here."""
    verdict = from_arrow_schema(arrow.verdict_schema(labels))
    carried = [field for field in df.schema if field.name != "id"]
    taken = {name.lower() for name in verdict.names}
    for field, name in zip(carried, arrow.carried_names([field.name for field in carried]), strict=True):
        while name.lower() in taken:  # to Spark, "Status" is "status"
            name = f"input_{name}"
        taken.add(name.lower())
        verdict = verdict.add(StructField(name, field.dataType))
    return verdict


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
    return _opened[shipped.key]


_opened: dict[str, Classifier] = {}  # that of this process, by its key


def _judged(batches: Iterator[pa.RecordBatch], shipped: _Shipped, column: str) -> Iterator[pa.RecordBatch]:
    classifier = _classifier(shipped)
    for batch in batches:
        yield arrow.judged(batch, classifier, column)
