"""The fact files and their JSON are one, and starting reads no other."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT

from bounceml.tables import compiled


@pytest.mark.parametrize("path", compiled.sources(), ids=lambda path: path.name)
def test_the_json_is_that_of_the_fact_file(path) -> None:  # type: ignore[no-untyped-def]
    written = (compiled.FOLDER / f"{path.stem}.json").read_text(encoding="utf-8")
    assert written == compiled.compiled(path), "a fact file was changed; run `make tables`"


# What takes more than 10 ms to import, or pulls such a thing in.
HEAVY = {
    *("numpy", "scipy", "sklearn", "pandas", "pyarrow", "joblib", "jinja2", "matplotlib", "rapidfuzz", "email_validator", "chardet"),
    *("tqdm", "tomllib", "sqlite3", "asyncio", "ssl", "http", "multiprocessing", "unittest", "importlib.metadata"),
}
SCRIPT = """
import sys
from bounceml.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "also"),
    [
        (["--help"], ["jieba", "hashlib", "json"]),
        (["predict", "552 5.2.2 mailbox full"], ["jieba", "email", "logging"]),
        (["predict", "--lang", "zh", "552 5.2.2 mailbox full"], ["jieba", "email", "logging"]),
        (["predict", "550 5.1.1 用户不存在"], ["email"]),
        (["predict", "tests/mail/carrier-no-address.eml"], ["jieba"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_no_heavy_import_creeps_in(arguments: list[str], also: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True, cwd=ROOT)
    assert HEAVY.union(also).isdisjoint(done.stderr.split())
