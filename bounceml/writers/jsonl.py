"""Verdicts as JSON lines: one object a line, in input order."""

from __future__ import annotations

from functools import lru_cache
from json.encoder import encode_basestring

from bounceml.cells import as_json
from bounceml.values import FIELDS, OWN, Finding, Verdict, carried_columns

_REMEMBERED = 8192  # verdicts of one wording each, as many as a classifier remembers


class _Shared(dict[int, tuple[Verdict, bytes]]):
    """The fields that replies of one wording share, and the end of the object, by the identity of their verdict.

    The verdict is kept with its line, so that no other one can come to its place in memory.
    """

    def of(self, shared: Verdict) -> bytes:
        known = self.get(id(shared))
        if known is not None:
            return known[1]
        if len(self) >= _REMEMBERED:
            self.clear()
        fields = [(name, shared[number]) for number, name in enumerate(FIELDS) if number >= OWN]
        fields += shared.labels().items()
        line = f"{', '.join([_field(name, value) for name, value in fields])}}}\n".encode("utf-8", "backslashreplace")
        self[id(shared)] = (shared, line)
        return line


@lru_cache(4096)
def _field(name: str, value: object) -> str:
    if name in ("evidence", "alternatives"):
        value = [item._asdict() for item in value]  # type: ignore[attr-defined]  # tuples of NamedTuples
    return f'"{name}": {as_json(value)}'


_shared = _Shared()


def _quoted(value: str | None) -> str:
    if value is None:
        return "null"
    return encode_basestring(value) if value.isprintable() else as_json(value)


def encode(findings: list[Finding]) -> bytes:
    """Return a line for each finding; the columns of a table's row stand behind the verdict's fields."""
    lines: list[bytes] = []
    for finding in findings:
        reply, shared = finding.reply, _shared.of(finding.shared)
        own = (
            f'{{"id": {_quoted(reply.id)}, "source": {_quoted(reply.source)}, "recipient": {_quoted(reply.recipient)}, '
            f'"original_recipient": {_quoted(reply.original_recipient)}, "reply": {_quoted(reply.text)}, '
        )
        lines.append(own.encode("utf-8", "backslashreplace"))
        if reply.columns:
            carried = as_json(carried_columns(reply.columns))
            lines += (shared[:-2], b", ", carried[1:].encode("utf-8", "backslashreplace"), b"\n")
        else:
            lines.append(shared)
    return b"".join(lines)
