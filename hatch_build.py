"""Writes the fact files as JSON (see bounceml/tables/compiled.py) whenever the package is built, also for an editable install."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class TablesHook(BuildHookInterface):  # type: ignore[misc,type-arg]  # hatchling is there while it builds only
    """Runs the compiler of the tables before their files are packed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the JSON; ``version`` and ``build_data`` are hatchling's and not needed."""
        runpy.run_path(str(Path(self.root) / "bounceml/tables/compiled.py"), run_name="__main__")
