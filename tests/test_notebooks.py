from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--output-dir", str(tmp_path), str(notebook)]
    small = {"MPLBACKEND": "agg", "SHARE": "30"}  # one group in 30: that it runs is tested, not what it finds
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=notebook.parent, env={**os.environ, **small})
    assert done.returncode == 0, done.stderr[-2000:]
