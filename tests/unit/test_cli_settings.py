"""What the commands of `pytest-mme` do with settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_mme.cli import app


@pytest.mark.parametrize(
    "command",
    [["serve", "."], ["bundle"], ["replay"], ["tensorflow", "list"], ["tensorflow", "fetch", "2.15.1"]],
    ids=" ".join,
)
def test_a_setting_that_makes_no_sense_ends_a_command_with_a_message(command: list[str]) -> None:
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200", "PYTEST_MME_RUNTIME": "elsewhere"})
    assert done.exit_code == 1
    assert "PYTEST_MME_RUNTIME from the environment is 'elsewhere': choose one of local, docker, attach" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("given", [True, False], ids=["option", "environment"])
def test_versions_are_kept_in_the_folder_of_the_option_or_else_of_the_environment(tmp_path: Path, given: bool) -> None:
    option = ["--cache", str(tmp_path / "option")] if given else []
    environment = {"COLUMNS": "300", "PYTEST_MME_CACHE": str(tmp_path / "environment")}
    done = CliRunner().invoke(app, ["tensorflow", "list", *option], env=environment, catch_exceptions=False)
    assert f"in {tmp_path / ('option' if given else 'environment') / 'tensorflow'}\n" in done.output
