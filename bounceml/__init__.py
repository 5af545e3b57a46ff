"""bounceml: why did this mail bounce, and what should happen next?

>>> from bounceml import Classifier
>>> Classifier.load().classify("550 5.1.1 user unknown").category
'user_unknown'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Classifier", "Reply", "Verdict", "__version__"]

if TYPE_CHECKING:
    from bounceml.classifier import Classifier
    from bounceml.values import Reply, Verdict


def __getattr__(name: str) -> object:
    """Import the public names on first use, so that ``bounceml --help`` starts at once (PEP 562)."""
    if name == "Classifier":
        from bounceml.classifier import Classifier

        return Classifier
    if name in ("Reply", "Verdict"):
        from bounceml import values

        return getattr(values, name)
    raise AttributeError(f"module 'bounceml' has no attribute {name!r}")
