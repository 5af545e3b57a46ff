"""Labelled replies with what every split of them needs: their groups, and the synthetic variants that follow each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from bounceml.labelled import Example
from bounceml.learning import augment, dataset
from bounceml.learning.arrays import Ints
from bounceml.learning.settings import Settings


class Corpus(NamedTuple):
    """Examples, the group of each, shape (examples,), and variants, each with the number of the example it was made from."""

    examples: Sequence[Example]
    groups: Ints
    variants: Sequence[tuple[int, Example]]

    def seen_as(self, see: Callable[[str], str]) -> Corpus:
        """Return the same corpus with every template replaced by what ``see`` leaves of it; groups stay as they are."""
        return self._replace(
            examples=[e._replace(template=see(e.template)) for e in self.examples],
            variants=[(parent, e._replace(template=see(e.template))) for parent, e in self.variants],
        )


def prepare(examples: Sequence[Example], chosen: Settings) -> Corpus:
    """Group near-duplicates and write the variants."""
    return Corpus(examples, dataset.groups(examples), augment.augment(examples, chosen.recipe, chosen.seed))
