"""Labelled replies: read, checked against the taxonomy, freed of duplicates, grouped by likeness."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer

from bounceml import tables, text
from bounceml.errors import DataError
from bounceml.learning.arrays import Floats, Ints
from bounceml.values import Reply

REQUIRED = ("text", "category", "language", "provider", "source")
OPTIONAL = ("note", "accept", "documented", "row", "id")

# Two templates at least this alike (cosine of character n-grams) are one group. Of the pairs between 0.70 and 0.80 a third
# are look-alikes of other causes ("quota exceeded" of a user and of a sender) and two thirds the same text twice. Macro-F1
# moves from 0.804 at 0.80 to 0.792 at 0.70 (notebooks/1-the-data.ipynb has the whole row).
SAME_GROUP = 0.75


# The source of a row that we worded ourselves, as a server might; such rows train and never measure.
OWN_WORDING = "own wording"


class Example(NamedTuple):
    """One labelled reply. ``place`` is its file and line; ``template`` what the model sees of it."""

    text: str
    template: str
    category: str
    language: str
    provider: str
    source: str
    place: str
    accept: tuple[str, ...] = ()
    documented: str | None = None
    row: str | None = None

    @property
    def measured(self) -> bool:
        """Whether the text is a real one, which may stand in a test fold."""
        return self.source != OWN_WORDING

    @property
    def right(self) -> frozenset[str]:
        """The categories that count as right for this text."""
        return frozenset((self.category, *self.accept))


def _check(row: dict[str, object], place: str) -> None:
    categories = tables.taxonomy().categories
    for field in REQUIRED:
        if not row.get(field) or not isinstance(row[field], str):
            raise DataError(f"{place}: field {field!r} is missing or empty; see data/README.md for the fields of a row")
    if extra := set(row) - {*REQUIRED, *OPTIONAL}:
        raise DataError(f"{place}: unknown field {sorted(extra)[0]!r}; fields are {', '.join((*REQUIRED, *OPTIONAL))}")
    named = [row["category"], *(row.get("accept") or [])]  # type: ignore[misc]
    for category in named:
        if category not in categories:
            raise DataError(f"{place}: {category!r} is not a category; `bounceml taxonomy` lists the {len(categories)} there are")
    if row.get("documented") and row["documented"] not in tables.taxonomy().documented:
        raise DataError(f"{place}: {row['documented']!r} is not a row of the documented table (S01 to S15)")


def _example(row: dict[str, object], place: str) -> Example:
    _check(row, place)
    original = str(row["text"])
    return Example(
        text=original,
        template=text.read(Reply(original)).template,
        category=str(row["category"]),
        language=str(row["language"]),
        provider=str(row["provider"]),
        source=str(row["source"]),
        place=place,
        accept=tuple(row.get("accept") or ()),  # type: ignore[arg-type]
        documented=row.get("documented"),  # type: ignore[arg-type]
        row=row.get("row"),  # type: ignore[arg-type]
    )


def read_file(path: Path) -> list[Example]:
    """Read one JSONL file of labelled replies.

    Raises
    ------
    DataError
        Naming the file, the line and what to mend, where a row is no JSON object, lacks a field or has an unknown category.

    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error}); give a JSONL file of labelled replies") from None
    examples = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{place}: not JSON ({error.msg}); every line holds one object with text and category") from None
        if not isinstance(row, dict):
            raise DataError(f"{place}: not a JSON object; every line holds one object with text and category")
        examples.append(_example(row, place))
    return examples


def distinct(examples: Iterable[Example]) -> list[Example]:
    """Keep the first example of each template.

    Raises
    ------
    DataError
        Where two rows of one template have labels that do not accept each other.

    """
    kept: dict[str, Example] = {}
    for example in examples:
        first = kept.setdefault(example.template, example)
        if example.category not in first.right and first.category not in example.right:
            raise DataError(
                f"{example.place}: labelled {example.category}, but {first.place} labels the same template "
                f"{first.category}; decide on one, or list the other under accept"
            )
    return list(kept.values())


def load(folder: Path, more: Sequence[Path] = ()) -> list[Example]:
    """Read all labelled replies below ``folder``/examples and the files of ``more``, one of each template."""
    files = sorted((folder / "examples").glob("*.jsonl"))
    if not files:
        raise DataError(f"{folder / 'examples'}: no *.jsonl file there; give the data folder with --data")
    return distinct(example for path in [*files, *more] for example in read_file(path))


def fingerprint(examples: Sequence[Example]) -> str:
    """Return the SHA-256 of the rows' texts and labels, whatever their order."""
    lines = sorted(json.dumps([e.text, e.category, *e.accept], ensure_ascii=False) for e in examples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# --- likeness ---------------------------------------------------------------------------------------------------

_AT_ONCE = 1000  # rows compared with all others at a time: 13,000 by 13,000 likenesses would take 2 GB


def _vectors(examples: Sequence[Example]) -> csr_matrix:
    """Return character n-grams of each template as rows of unit length; their products are cosines."""
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True, dtype=np.float32).fit_transform(
        example.template for example in examples
    )


def groups(examples: Sequence[Example], same: float = SAME_GROUP) -> Ints:
    """Return a group number for each example; near-duplicates, of a cosine of at least ``same``, share one.

    Wordings of our own are compared with real texts only: among themselves they are on the training side anyway.
    """
    vectors, real = _vectors(examples), np.flatnonzero([example.measured for example in examples])
    first, second = [], []
    for some in np.array_split(real, len(real) // _AT_ONCE + 1):
        rows, columns = ((vectors[some] @ vectors.T) >= same).nonzero()
        first.append(some[rows])
        second.append(columns)
    pairs = np.concatenate(first), np.concatenate(second)
    alike = csr_matrix((np.ones(len(pairs[0]), dtype=bool), pairs), shape=(len(examples), len(examples)))
    _, labels = connected_components(alike, directed=False)
    return np.asarray(labels, dtype=np.int64)


def nearest(examples: Sequence[Example], splits: Iterable[tuple[Ints, Ints]]) -> Floats:
    """Return the cosine of each test row to the most like of its training rows, shape (examples,), nan where none tests it.

    Parameters
    ----------
    examples
        All examples.
    splits
        Numbers of the training rows and of the test rows.

    """
    vectors = _vectors(examples)
    found = np.full(len(examples), np.nan)
    for train, test in splits:
        known = vectors[train].T.tocsr()
        for some in np.array_split(test, len(test) // _AT_ONCE + 1):
            found[some] = (vectors[some] @ known).max(axis=1).toarray().ravel()
    return found


# --- providers --------------------------------------------------------------------------------------------------


def families(folder: Path) -> dict[str, str]:
    """Return the family of each way a provider's name begins: ``families.toml`` of the data folder, none without it.

    Raises
    ------
    DataError
        Where the file is no table of lists of words.

    """
    path = folder / "families.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return {word.casefold(): family for family, words in table.items() for word in words}
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, AttributeError, TypeError) as error:
        raise DataError(f"{path}: not usable ({error}); each line names a family and lists how its providers' names begin") from None


def family(provider: str, known: Mapping[str, str]) -> str | None:
    """Return the family of a provider: the one of the longest beginning in ``known``, else its first word.

    None for what is no provider, such as "various"; ``known`` gives those an empty name.

    >>> family("Exchange Online (de)", {"exchange": "Microsoft"}), family("Zoho Mail", {}), family("various", {"various": ""})
    ('Microsoft', 'Zoho', None)
    """
    name = provider.casefold()
    if found := max((word for word in known if name.startswith(word)), key=len, default=None):
        return known[found] or None
    return re.split(r"[\s/(]", provider, maxsplit=1)[0]
