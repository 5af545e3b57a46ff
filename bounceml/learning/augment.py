"""Synthetic variants of labelled replies, drawn from ``data/augment.toml`` and a seed. They train and never measure.

Each rewrite is a function of (text, category, random numbers) that keeps the label; ``REWRITES`` is their order.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import opencc

from bounceml import text
from bounceml.errors import DataError
from bounceml.labelled import Example
from bounceml.values import Reply

_LEADING_CODES = re.compile(r"^\s*(?:(?:[245]\d\d)(?:[\s-]+\(?#?[245]\.\d{1,3}\.\d{1,3}\)?)?|[245]\.\d{1,3}\.\d{1,3})[\s:-]*")
_SLOT = {"addr": "address", "host": "host", "ip": "ip", "id": "id", "num": "number"}
_QUOTES = (("<", ">"), ("'", "'"), ('"', '"'), ("(", ")"), ("＜", "＞"))
_FULL_WIDTH = str.maketrans({",": "，", ".": "。", ":": "：", ";": "；", "(": "（", ")": "）", "!": "！"})


class Recipe(NamedTuple):
    """The contents of ``augment.toml``."""

    variants: int
    documented: int
    salt: str
    share: dict[str, float]
    keep_words: int
    keep_share: float
    codes: dict[str, list[str]]
    wrap: list[dict[str, Any]]
    slots: dict[str, list[str]]


def read_recipe(path: Path) -> Recipe:
    """Read ``augment.toml``.

    Raises
    ------
    DataError
        Where the file is missing, is no TOML or lacks a table.

    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return Recipe(
            data["variants"],
            data["documented"],
            data["seed_salt"],
            data["share"],
            data["truncate"]["keep_words"],
            data["truncate"]["keep_share"],
            data["codes"],
            data["wrap"],
            data["slots"],
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise DataError(f"{path}: not a usable recipe for variants ({error!r}); compare it with the one in the data folder") from None


@cache
def _converter(direction: str) -> opencc.OpenCC:
    return opencc.OpenCC(direction)


def _code(reply: str, category: str, recipe: Recipe, draw: random.Random) -> str:
    known = recipe.codes.get(category)
    leading = _LEADING_CODES.match(reply)
    if not known:
        return reply
    if leading and draw.random() < 0.35:
        return reply[leading.end() :] or reply
    rest = reply[leading.end() :] if leading else reply
    return f"{draw.choice(known)} {rest}" if rest else reply


def _wrap(reply: str, category: str, recipe: Recipe, draw: random.Random) -> str:
    coded = bool(_LEADING_CODES.match(reply))
    fitting = [w for w in recipe.wrap if (coded or w["for"] == "any") and category in w.get("only", (category,))]
    slots = recipe.slots
    return str(draw.choice(fitting)["text"]).format(
        reply=reply,
        to=draw.choice(slots["address"]).strip("<>"),
        host=draw.choice(slots["host"]),
        ip=draw.choice(slots["ip"]),
        cmd=draw.choice(slots["command"]),
    )


def _truncate(reply: str, category: str, recipe: Recipe, draw: random.Random) -> str:
    words = reply.split(" ")
    shortest = max(recipe.keep_words, int(len(words) * recipe.keep_share))
    return reply if len(words) <= shortest else " ".join(words[: draw.randint(shortest, len(words) - 1)])


def _punctuation(reply: str, category: str, recipe: Recipe, draw: random.Random) -> str:
    choice = draw.randrange(3)
    if choice == 0:
        return reply.rstrip(".!。！ ")
    if choice == 1:
        return reply.translate(_FULL_WIDTH)
    left, right = draw.choice(_QUOTES)
    return f"{left}{reply}{right}"


def _case(reply: str, category: str, recipe: Recipe, draw: random.Random) -> str:
    return reply.upper() if draw.random() < 0.5 else reply.lower()


def _script(reply: str, category: str, recipe: Recipe, draw: random.Random) -> str:
    return str(_converter(draw.choice(("s2t", "s2twp", "t2s"))).convert(reply))


def _refill(reply: str, category: str, recipe: Recipe, draw: random.Random) -> str:
    def other(match: re.Match[str]) -> str:
        slot = _SLOT.get(str(match.lastgroup))
        masked = text.mark(match[0]) == f"<{match.lastgroup}>"  # reply codes and blocklists stay what they are
        return draw.choice(recipe.slots[slot]) if slot and masked else match[0]

    refilled = text.MARKS.sub(other, reply)
    return f"{refilled} ({draw.choice(recipe.slots['time'])})" if draw.random() < 0.03 else refilled


REWRITES: dict[str, Callable[[str, str, Recipe, random.Random], str]] = {
    "truncate": _truncate,
    "script": _script,
    "code": _code,
    "case": _case,
    "punctuation": _punctuation,
    "wrap": _wrap,
    "refill": _refill,
}


def variants(example: Example, recipe: Recipe, seed: int) -> list[Example]:
    """Return the variants of one labelled reply; the same example, recipe and seed always give the same."""
    draw = random.Random(f"{recipe.salt}:{seed}:{example.template}")
    found: dict[str, Example] = {}
    for _ in range(recipe.documented if example.documented else recipe.variants):
        changed = example.text
        for name, rewrite in REWRITES.items():
            if draw.random() < recipe.share[name]:
                changed = rewrite(changed, example.category, recipe, draw)
        masked = text.read(Reply(changed)).template
        if masked != example.template:
            found.setdefault(masked, example._replace(text=changed, template=masked, source=f"variant of {example.place}"))
    return list(found.values())


def augment(examples: Sequence[Example], recipe: Recipe, seed: int) -> list[tuple[int, Example]]:
    """Return (index of the parent, variant) for all variants whose template no row has.

    Our own wordings get none: with variants of them accuracy is the same (0.890 against 0.889), and training takes twice as long.
    """
    known = {example.template for example in examples}
    real = [(index, example) for index, example in enumerate(examples) if example.measured]
    return [(index, made) for index, example in real for made in variants(example, recipe, seed) if made.template not in known]
