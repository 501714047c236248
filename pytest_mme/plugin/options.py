"""The options as pytest takes them, and the settings that they come to."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pytest_mme.errors import SettingError
from pytest_mme.settings import OPTIONS, Option, Settings

SETTINGS = pytest.StashKey[Settings]()


def add_to(parser: pytest.Parser) -> None:
    """Add each option as a flag of the command line and as a key of the ini file."""
    group = parser.getgroup("mme", "multi-model endpoints (pytest-mme)")
    for option in OPTIONS:
        described = (
            f"{option.help} (default: {option.default_text}; also {option.environment_name}, ini {option.ini_name})"
        )
        how: dict[str, Any] = {"action": "store_const", "const": "yes"} if option.flag else {"metavar": option.metavar}
        if option.many:
            how["action"] = "append"
        group.addoption(option.flag_name, dest=option.ini_name, default=None, help=described, **how)
        parser.addini(option.ini_name, option.help, default="")


def resolve(config: pytest.Config) -> Settings:
    """Return the settings of a session; raises `pytest.UsageError` when they make no sense."""

    def on_command_line(option: Option) -> str | None:
        given = config.getoption(option.ini_name)
        return " ".join(given) if isinstance(given, list) else given

    try:
        return Settings.resolve(
            cli=on_command_line,
            environment=os.environ,
            ini=lambda option: str(config.getini(option.ini_name)),
        )
    except SettingError as error:
        raise pytest.UsageError(str(error)) from error
