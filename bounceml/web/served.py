"""The classifiers of this process, one a language, audience and scheme, and how a new model takes their place.

A model is served from a copy, in a folder that the worker processes of one service share (``Settings.state``):

    current        the name of the copy that is served
    lock           is held by who makes a copy, or loads one
    m-…/           manifest and arrays of the model, with the policy and the rules, as they were when they were taken over

A reload makes a new copy, loads all of it, lets it judge the replies of ``known.toml``, and only then writes its name to ``current``. Every
worker looks at that file each second (``app``), loads the new copy beside the old one and swaps them by one assignment; requests under
way end with the classifier that they began with. So no worker ever serves a half-written model, one that is started later gets the same
as the others, and a file that is overwritten in place does not tear the mapped arrays of a running process.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock
from weakref import finalize

from bounceml import artefact
from bounceml.classifier import Classifier
from bounceml.errors import ModelError
from bounceml.values import Voice
from bounceml.web.settings import Settings

if sys.platform != "win32":
    import fcntl

_CURRENT = "current"
_LOCK = "lock"
_KEPT = 8  # classifiers in memory: two languages for three audiences, and a scheme or two; each remembers wordings, up to 30 MB


@cache
def _known() -> tuple[tuple[str, str], ...]:
    """Return replies and the category of each."""
    rows = tomllib.loads(Path(__file__).with_name("known.toml").read_text(encoding="utf-8"))["known"]
    return tuple((row["text"], row["category"]) for row in rows)


class _Copy:
    """A loaded copy of a model with policy and rules."""

    def __init__(self, folder: Path) -> None:
        policy, rules = folder / "policy.toml", folder / "rules.toml"
        base = Classifier.load(folder, policy=policy if policy.exists() else None, rules=rules if rules.exists() else None)
        self.name = folder.name
        self.base = base
        self._plain = Classifier(base.model, base.thresholds)  # without the user's rules, which may say anything

        @lru_cache(_KEPT)
        def classifier(lang: str, audience: str, scheme: str | None) -> Classifier:
            return Classifier(base.model, base.thresholds, Voice(lang, scheme, audience), base.policy, base.rules)

        self.classifier = classifier

    def differing(self) -> list[str]:
        """Return how the model's verdicts on known replies differ from what they should be."""
        found = ((text, category, self._plain.classify(text).category) for text, category in _known())
        return [f"{text!r} is {category}, and it says {said}" for text, category, said in found if said != category]


class Served:
    """Hands out classifiers; all threads share them.

    Examples
    --------
    >>> Served(Settings()).classifier("zh").classify("552 5.2.2 mailbox full").category
    'mailbox_full'

    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._state = settings.state or Path(tempfile.mkdtemp(prefix="bounceml-"))
        if settings.state is None:
            finalize(self, shutil.rmtree, self._state, ignore_errors=True)
        with self._alone():
            self._copy = _Copy(self._state / self._current()) if (self._state / _CURRENT).exists() else self._taken()

    @property
    def model(self) -> str:
        """Name and version of the model."""
        return self._copy.base.model.name

    def classifier(self, lang: str = "en", audience: str = "sender", scheme: str | None = None) -> Classifier:
        """Return the classifier that tells causes and remedies in this language, to this audience.

        Raises
        ------
        UsageError
            Where there is no such language, audience or scheme.

        """
        return self._copy.classifier(lang, audience, scheme)

    def differing(self) -> list[str]:
        """Return how the verdicts on known replies differ from what they should be; empty where the service is ready."""
        return self._copy.differing()

    def reload(self) -> None:
        """Take over what now stands in the places that the settings name; the other worker processes follow within a second.

        Raises
        ------
        BouncemlError
            Where it cannot be read, or a check fails; then the old one stays.

        """
        with self._alone():
            self._copy = self._taken()

    def follow(self) -> None:
        """Load what another worker process took over, if it did.

        Raises
        ------
        BouncemlError, OSError
            Where the copy cannot be read; then the old one stays until the next call.

        """
        if self._current() != self._copy.name:
            with self._alone():
                self._copy = _Copy(self._state / self._current())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep all other threads and processes from making, loading and removing copies."""
        with self._lock, (self._state / _LOCK).open("wb") as lock:
            if sys.platform != "win32":
                fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
            yield

    def _current(self) -> str:
        return (self._state / _CURRENT).read_text(encoding="utf-8")

    def _taken(self) -> _Copy:
        try:
            return self._copied()
        except OSError as error:
            why = f"the model cannot be copied to {self._state} ({error.strerror}); make room there, and see that it may be written"
            raise ModelError(why) from None

    def _copied(self) -> _Copy:
        asked = self._settings
        Classifier.load(asked.model, policy=asked.policy, rules=asked.rules)  # what it complains of, it calls by the user's names
        folder = Path(tempfile.mkdtemp(prefix="m-", dir=self._state))
        try:
            origin = asked.model or artefact.default_folder()
            files = {artefact.MANIFEST: origin / artefact.MANIFEST, artefact.ARRAYS: origin / artefact.ARRAYS}
            files |= {name: path for name, path in (("policy.toml", asked.policy), ("rules.toml", asked.rules)) if path}
            for name, path in files.items():
                shutil.copyfile(path, folder / name)
            copy = _Copy(folder)
            if wrong := copy.differing():
                raise ModelError(f"{copy.base.model.name}: is not fit to be served: {'; '.join(wrong)}; train it on more replies")
            (folder / _CURRENT).write_text(folder.name, encoding="utf-8")
            os.replace(folder / _CURRENT, self._state / _CURRENT)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for old in self._state.glob("m-*"):
            if old != folder:  # who serves it has mapped it
                shutil.rmtree(old, ignore_errors=True)
        return copy
