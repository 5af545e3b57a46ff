"""What one would write first: scikit-learn's own TF-IDF and a linear classifier, asked line by line; `bench` measures it beside us.

`python -m bench.sklearn_pipeline PIPELINE FILE LINES` labels the first lines of a file; the pipeline is fitted where it is not there yet.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path

import joblib
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.svm import LinearSVC

from bench.streams import EXAMPLES

AT_ONCE = 1000  # lines


def fitted() -> Pipeline:
    """Return a pipeline over words and characters, fitted on the labelled replies."""
    rows = [json.loads(line) for path in sorted(EXAMPLES.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=3)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), min_df=3)
    pipeline = make_pipeline(make_union(words, characters), LinearSVC(dual="auto"))
    return pipeline.fit([row["text"] for row in rows], [row["category"] for row in rows])


def main(kept: str, path: str, count: str) -> None:
    """Label lines."""
    if not Path(kept).exists():
        joblib.dump(fitted(), kept)
    pipeline = joblib.load(kept)
    with open(path, encoding="utf-8") as lines:
        left = int(count)
        while some := list(islice(lines, min(left, AT_ONCE))):
            pipeline.predict(some)
            left -= len(some)


if __name__ == "__main__":
    main(*sys.argv[1:])
