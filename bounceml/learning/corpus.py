"""Labelled replies with what every split of them needs: groups, the synthetic variants that follow each, counts of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bounceml.labelled import Example
from bounceml.learning import augment, dataset
from bounceml.learning.arrays import Ints
from bounceml.learning.pipeline import Counts, FeatureCounts
from bounceml.learning.settings import Settings


@dataclass(frozen=True)
class Corpus:
    """Examples, the group of each, shape (examples,), and variants, each with the number of the example it was made from."""

    examples: Sequence[Example]
    groups: Ints
    variants: Sequence[tuple[int, Example]]

    @cached_property
    def texts(self) -> list[Example]:
        """All that may train: the examples, then the variants."""
        return [*self.examples, *(variant for _, variant in self.variants)]

    @cached_property
    def _counted(self) -> tuple[FeatureCounts, Counts]:
        counter = FeatureCounts()
        return counter, counter.fit_transform([text.template for text in self.texts])

    @property
    def counter(self) -> FeatureCounts:
        """What found the counts, and finds those of other templates in the same columns."""
        return self._counted[0]

    @property
    def counts(self) -> Counts:
        """The counts of features in ``texts``, found once for all splits: it takes as long as a fit."""
        return self._counted[1]

    def seen_as(self, see: Callable[[str], str]) -> Corpus:
        """Return the same corpus with every template replaced by what ``see`` leaves of it; groups stay as they are."""
        return replace(
            self,
            examples=[e._replace(template=see(e.template)) for e in self.examples],
            variants=[(parent, e._replace(template=see(e.template))) for parent, e in self.variants],
        )


def prepare(examples: Sequence[Example], chosen: Settings) -> Corpus:
    """Group near-duplicates and write the variants."""
    return Corpus(examples, dataset.groups(examples), augment.augment(examples, chosen.recipe, chosen.seed))
