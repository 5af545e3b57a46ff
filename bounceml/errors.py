"""What can go wrong, as a tree. Every message names the place and says what to do next.

BouncemlError
 ├─ UsageError      a command or call that cannot be carried out as given
 ├─ InputError      an input that cannot be read: file, encoding, column
 ├─ DataError       labelled rows or tables that break their own rules
 └─ ModelError      a model folder that cannot be trusted or understood
"""

from __future__ import annotations


class BouncemlError(Exception):
    """Base of all errors that bounceml raises on purpose; its text is written for the user."""


class UsageError(BouncemlError):
    """The command or call cannot be carried out as given."""


class InputError(BouncemlError):
    """An input cannot be read."""


class DataError(BouncemlError):
    """Labelled rows or fact tables break their own rules."""


class ModelError(BouncemlError):
    """A model folder is missing, changed, or of another format."""
