"""The tutorial works from its first step to its last, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks
from tools.make_docs import ROOT

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "tutorial.md"
SET_UP = ("python3 -m venv", "source", "pip install")  # the environment of this test stands for the one they make


def test_every_step_succeeds(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for block in steps():
        if block.language == "python":
            (name,) = re.findall(r"`(\w+\.py)`:$", block.before)
            (tmp_path / name).write_text(block.text)
            continue
        for command in re.findall(r"^\$ (.*)$", block.text, re.MULTILINE):
            if not command.startswith(SET_UP):
                done = subprocess.run(
                    ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "report.html").exists()


def steps() -> list[Block]:
    """The files and the commands, in their order."""
    return sorted((block for kind in ("python", "console") for block in blocks(PAGE, kind)), key=lambda step: step.line)
