"""`pytest-mme COMMAND --help` shows what a command does, an example, and its exit status."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from pytest_mme.cli import app


def commands(app: typer.Typer, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the words that name each command."""
    for command in app.registered_commands:
        yield (*path, str(command.name))
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, *path, str(group.name))


ALL = list(commands(app))


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_help_shows_an_example_and_the_exit_status(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert f"pytest-mme {' '.join(command)} " in done.output.partition("Usage:")[2].partition("\n")[2]
    assert "Exit status: 0" in done.output


def test_the_list_of_commands_describes_each() -> None:
    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    for command in ALL:
        assert f"{command[0]} " in done.output
