"""Labelled replies: the data folder read, freed of duplicates, grouped by likeness."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer

from bounceml.errors import DataError
from bounceml.labelled import Example, read_file
from bounceml.learning.arrays import Floats, Ints

# Two templates at least this alike (cosine of character n-grams) are one group. Of the pairs between 0.70 and 0.80 a third
# are look-alikes of other causes ("quota exceeded" of a user and of a sender) and two thirds the same text twice. Macro-F1
# moves from 0.804 at 0.80 to 0.792 at 0.70 (notebooks/1-the-data.ipynb has the whole row).
SAME_GROUP = 0.75


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
        cosines = vectors[some] @ vectors.T
        cosines.data[cosines.data < same] = 0.0  # comparing the matrix with a number takes longer than the product
        rows, columns = cosines.nonzero()
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
            cosines = vectors[some] @ known
            cosines.has_canonical_format = True  # a product has no entry twice; sorting to see it takes as long as the product
            found[some] = cosines.max(axis=1).toarray().ravel()
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
