"""What follows from a category: the defaults of taxonomy.toml and policy.toml, and a user's file of the form of policy.toml over them.

A user may say what to do, and suppress less; nobody may have an address suppressed that no text proves dead.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from bounceml import tables
from bounceml.errors import DataError
from bounceml.tables import compiled
from bounceml.values import Category

_ACTIONS = tuple(action for action in tables.ACTIONS if action != "suppress")  # that follows from the proof, and from nothing else
_LONGEST = 36_500  # days


class PolicyTable(NamedTuple):
    """Categories with their actions, the days that those which may be suppressed stay so (None: for good), a threshold of its own."""

    categories: dict[str, Category]
    suppress_days: dict[str, int | None]
    suppress_threshold: float | None = None


@cache
def default() -> PolicyTable:
    """Return the policy that comes with bounceml."""
    return _over(PolicyTable(tables.taxonomy().categories, {}), compiled.read("policy"), "policy.toml")


def read(path: Path) -> PolicyTable:
    """Return the default policy with a user's file over it.

    Raises
    ------
    DataError
        Where the file cannot be read, or says what a policy cannot say.

    """
    return _over(default(), tables.toml_of(path), str(path))


def _over(base: PolicyTable, data: dict[str, Any], file: str) -> PolicyTable:
    _known(data, ("suppress_threshold", "category"), file)
    categories, days = dict(base.categories), dict(base.suppress_days)
    blocks = data.get("category", {})
    if not isinstance(blocks, dict):
        raise DataError(f"{file}, category: write a table for each, as [category.user_unknown]")
    for name, block in blocks.items():
        where = f"{file}, category.{name}"
        if name not in categories:
            raise DataError(f"{where}: is not a category; `bounceml taxonomy` lists them")
        if not isinstance(block, dict):
            raise DataError(f"{where}: write a table, as [category.{name}]")
        _known(block, ("action", "suppress_days", "may_suppress"), where)
        categories[name] = _category(categories[name], block, where)
        if "suppress_days" in block:
            if not categories[name].may_suppress:
                raise DataError(f"{where}.suppress_days: such an address is never suppressed; leave the key out")
            days[name] = _days(block["suppress_days"], f"{where}.suppress_days")
    threshold = data.get("suppress_threshold", base.suppress_threshold)
    if threshold is not None and not (_is_number(threshold) and 0 <= threshold <= 1):
        raise DataError(f"{file}, suppress_threshold: {threshold!r} is not a probability; give a number from 0 to 1")
    return PolicyTable(categories, days, threshold)


def _known(block: dict[str, Any], keys: tuple[str, ...], where: str) -> None:
    if unknown := [key for key in block if key not in keys]:
        raise DataError(f"{where}: {unknown[0]!r} is not a key of a policy; there are {', '.join(keys)}")


def _category(category: Category, block: dict[str, Any], where: str) -> Category:
    action, may_suppress = block.get("action", category.action), block.get("may_suppress", category.may_suppress)
    if action not in _ACTIONS:
        raise DataError(f"{where}.action: {action!r} is not one of {', '.join(_ACTIONS)}")
    if not isinstance(may_suppress, bool):
        raise DataError(f"{where}.may_suppress: {may_suppress!r} is neither true nor false")
    proofs = [known.id for known in tables.taxonomy().categories.values() if known.may_suppress]
    if may_suppress and category.id not in proofs:
        raise DataError(f"{where}.may_suppress: cannot be true, as no such reply proves an address dead; {', '.join(proofs)} do")
    return category._replace(action=action, may_suppress=may_suppress)


def _days(value: object, where: str) -> int | None:
    if value == "never":
        return None
    if isinstance(value, int) and _is_number(value) and 1 <= value <= _LONGEST:
        return value
    raise DataError(f'{where}: {value!r} is neither a number of days from 1 to {_LONGEST} nor "never"')


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
