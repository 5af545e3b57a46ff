"""Verdicts as the bytes of an answer: JSON lines, or one JSON object; every verdict that is answered is counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bounceml.values import Finding
from bounceml.web import metrics
from bounceml.work import Encode

JSON, LINES = "application/json", "application/x-ndjson"


def counting(encode: Encode) -> Encode:
    """Return what encodes findings and counts them."""

    def counted(findings: list[Finding]) -> Any:
        metrics.count(findings)
        return encode(findings)

    return counted


def as_object(lines: Iterable[bytes]) -> Iterator[bytes]:
    r"""Yield what makes one JSON object of blocks of JSON lines. All line ends there are those of lines, as JSON escapes others.

    >>> b"".join(as_object([b'{"id": "1"}\n', b'{"id": "2"}\n']))
    b'{"verdicts": [{"id": "1"},\n{"id": "2"}]}'
    """
    before = b'{"verdicts": ['
    for block in filter(None, lines):
        yield before + block[:-1].replace(b"\n", b",\n")
        before = b",\n"
    yield b"]}" if before == b",\n" else before + b"]}"
