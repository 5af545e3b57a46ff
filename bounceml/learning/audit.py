"""Which labels deserve a second look: held-out answers against labels, by cleanlab's label quality (Northcutt et al. 2021)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from cleanlab.rank import get_label_quality_scores

from bounceml.labelled import Example
from bounceml.learning.evaluate import HeldOut


class Suspect(NamedTuple):
    """A row whose label the held-out model doubts.

    ``quality`` is the probability that a model which has not seen the row gives to its label; ``said`` is that model's own
    answer, ``sure`` the probability of it.
    """

    example: Example
    quality: float
    said: str
    sure: float


def suspects(held: HeldOut) -> list[Suspect]:
    """Return the rows to read again, the most doubtful label first.

    A row whose held-out answer is its own or an accepted category is no suspect. A suspect need not be wrong: a hard text
    with a right label ranks high as well, so every one is decided by reading it (data/audit.jsonl).

    Parameters
    ----------
    held
        Measured rows and their probabilities from grouped folds, as `train.hold_out` returns them.

    Returns
    -------
    list of Suspect
        By cleanlab's self-confidence, worst first.

    """
    names = sorted({score.category for scores in held.scores for score in scores})
    column = {name: number for number, name in enumerate(names)}
    probabilities = np.zeros((len(held.scores), len(names)))
    for row, scores in enumerate(held.scores):
        for score in scores:
            probabilities[row, column[score.category]] = score.probability
    labels = np.array([column[example.category] for example in held.examples])
    quality = get_label_quality_scores(labels, probabilities, method="self_confidence")
    return [
        Suspect(held.examples[row], float(quality[row]), held.scores[row][0].category, held.scores[row][0].probability)
        for row in np.argsort(quality, kind="stable")
        if held.scores[row][0].category not in held.examples[row].right
    ]
