"""The fact files as JSON, which is read ten times as fast as TOML and CSV: `make tables` writes them anew.

Each start of the command line reads some of them, so the time counts: 14 ms for the taxonomy as TOML, 0.5 ms as JSON.
A test fails where a fact file was changed and its JSON was not.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FOLDER = HERE / "json"


def read(name: str) -> Any:
    """Return what the fact file of this name holds: a dictionary of a TOML, rows with the header first of a CSV.

    Parameters
    ----------
    name
        Without the suffix: ``taxonomy``.

    """
    with (FOLDER / f"{name}.json").open("rb") as file:
        return json.load(file)


def compiled(path: Path) -> str:
    """Return the JSON of a fact file."""
    if path.suffix == ".toml":
        import tomllib

        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return _json(_with_words(data) if path.stem == "details" else data)
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return _json(_words(rows[1:]) if path.stem == "concept_words" else rows)


def _with_words(data: dict[str, Any]) -> dict[str, Any]:
    """The same, each pattern with the words that a text must have one of."""
    required = runpy.run_path(str(HERE / "required.py"))["words"]  # a build has no package yet to import it from
    for block in (*data["detail"], data["wait"]):
        block["words"] = required(block["pattern"])
    return data


def _words(rows: list[list[str]]) -> dict[str, str]:
    """The lines "form concept" by first letter, two neighbours that are one under "=": a start needs a few letters of 17,000 forms."""
    found: dict[str, list[str]] = {}
    for concept, language, forms in rows:
        for form in forms.split("|"):
            found.setdefault(language if language == "=" else form[0], []).append(f"{form} {concept}")
    return {letter: "\n".join(lines) for letter, lines in found.items()}


def sources() -> list[Path]:
    """Return the fact files that have a JSON."""
    return sorted(path for path in HERE.iterdir() if path.suffix in (".toml", ".csv") and path.stem != "concept_phrases")


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, indent=0, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for source in sources():
        (FOLDER / f"{source.stem}.json").write_text(compiled(source), encoding="utf-8")
