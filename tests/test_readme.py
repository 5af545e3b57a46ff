"""The README shows only what works: each command on a pasted reply is run, and says what stands below it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT

from bounceml.cli import main

README = (ROOT / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```toml\n# (\S+\.toml)\n(.*?)```", README, re.DOTALL))


def _shown() -> list[tuple[str, str]]:
    """The commands of the README with what stands below each, but for those that need a log, a mailbox or another model."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    commands = [part.partition("\n")[::2] for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, below) for command, below in commands if re.match(r'bounceml predict (?:--\w+ [\w.-]+ |--explain )*"', command)]


@pytest.mark.parametrize(
    ("command", "below"), [pair for pair in _shown() if not re.search(r"models/|[|]", pair[0]) and "…" not in pair[1].split()]
)
def test_command_says_what_stands_below_it(
    command: str, below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "lax.toml").write_text("[category.mailbox_full]\nmay_suppress = true\n")
    if "rules.toml" in FILES:
        (tmp_path / "slow.toml").write_text(re.sub(r"'.*'", "'(held ?)+ in quarantine'", FILES["rules.toml"]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    main(shlex.split(command)[1:])
    said = capsys.readouterr()
    lines = [line.rstrip() for line in (said.err + said.out).splitlines()]
    assert below.splitlines() == lines


def test_most_of_them_are_run() -> None:
    assert len(_shown()) >= 12
