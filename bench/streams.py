"""Streams of replies to measure on: the labelled replies of data/examples as templates, their addresses, hosts and numbers drawn anew.

Template ``n`` comes with a share proportional to 1/n (Zipf). Every address, host, IP address, id and long number of a line is drawn from
50,000 addresses in 2,000 domains, 2,000 hosts and 2,000 IP addresses, ids and numbers from a million: so what stands between the words
is new as often as in a log of that many recipients.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from bounceml import text

EXAMPLES = Path(__file__).parents[1] / "data" / "examples"
LONGEST = 400  # characters of a template; few replies have more


def templates(count: int, seed: int = 7) -> list[str]:
    """Return that many different replies of the examples, on one line each, in an order that the seed decides."""
    rows = (json.loads(line)["text"] for path in sorted(EXAMPLES.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines())
    found = sorted({" ".join(row.split()) for row in rows if len(row) < LONGEST})
    random.Random(seed).shuffle(found)
    if len(found) < count:
        raise ValueError(f"there are {len(found)} templates")
    return found[:count]


def replies(lines: int, count: int, seed: int = 7) -> Iterator[tuple[str, str]]:
    """Yield that many recipients and replies of ``count`` templates."""
    draw = random.Random(seed)
    pieces = [_pieces(template) for template in templates(count, seed)]
    weights = [1 / rank for rank in range(1, count + 1)]
    for chosen in draw.choices(pieces, weights, k=lines):
        recipient = f"user{draw.randrange(50_000)}@d{draw.randrange(2000)}.example.com"
        yield recipient, "".join([_drawn(piece, draw, recipient) for piece in chosen])


def _pieces(template: str) -> list[tuple[str, str]]:
    """Part a template into what stays and what is drawn: (kind, text), of kind "" what stays."""
    found, at = [], 0
    for match in text.MARKS.finditer(template):
        kind = str(match.lastgroup)
        if kind in ("status", "url") or (kind == "num" and len(match[0]) < 5):
            continue
        found += [("", template[at : match.start()]), (kind, match[0])]
        at = match.end()
    return [*found, ("", template[at:])]


def _drawn(piece: tuple[str, str], draw: random.Random, recipient: str) -> str:
    kind, given = piece
    if not kind:
        return given
    number = draw.randrange(1_000_000)
    drawn = {
        "addr": recipient,
        "host": f"mx{number % 10}.h{number % 200}.example.net",
        "ip": f"203.0.{number % 8}.{number % 250}",
        "id": f"{number:x}A{number:09d}",
        "num": str(number),
    }[kind]
    return re.sub(r"\w(?:.*\w)?", lambda _: drawn, given, count=1, flags=re.DOTALL) if given[0] in "<[" else drawn
