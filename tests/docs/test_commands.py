"""Every command, option, make target and link that the documentation names exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_mme import Models
from pytest_mme.settings import OPTIONS
from tests.docs.pages import PAGES, commands, name_of
from tools.make_docs import ROOT, command_at
from tools.pages import FENCE

OTHERS = {"docker", "locust", "mkdir", "pip", "python", "python3", "tar", "cd", "source", "uv"}
"""Programs that are not the project's."""
OF_PYTEST = {"--pyargs", "--log-cli-level", "--junitxml", "-n", "-v", "-p", "-k"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_can_be_given(page: Path) -> None:
    for command in commands(page):
        check(command)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_within_a_sentence_can_be_given(page: Path) -> None:
    for span in re.findall(r"`([^`]+)`", FENCE.sub("", page.read_text())):
        if re.match(r"pytest-mme [a-z]|pytest --|make [a-z]|python -m bench", span):
            check(span)
        for option in re.findall(r"--mme-[a-z-]+", span):
            assert option in {option.flag_name for option in OPTIONS}, span


def check(command: str) -> None:
    """Fail unless *command* names programs, subcommands, options and targets that there are."""
    program, *arguments = shlex.split(command)
    match program:
        case "pytest-mme":
            check_own(command, arguments)
        case "pytest":
            known = {option.flag_name for option in OPTIONS} | OF_PYTEST
            assert [name for name in options(arguments) if name not in known] == [], command
        case "make":
            targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert arguments[0] in targets, command
        case "python" if arguments[:2] == ["-m", "bench"]:
            assert f'"{arguments[2]}"' in (ROOT / "bench" / "__main__.py").read_text(), command
        case "python" if arguments[0].startswith("tools/"):
            assert (ROOT / arguments[0]).exists(), command
        case _:
            assert program in OTHERS, command


def check_own(command: str, arguments: list[str]) -> None:
    path = arguments[: 2 if arguments[0] in ("image", "tensorflow") else 1]
    found: Any = command_at(path)
    known = {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert [name for name in options(arguments) if name not in known] == [], command


def options(arguments: list[str]) -> list[str]:
    return [argument.partition("=")[0] for argument in arguments if re.match(r"--?[a-z]", argument)]


@pytest.fixture
def folder(tmp_path: Path, mme_models: Models) -> Path:
    """A folder with the archives that the commands name."""
    (tmp_path / "dist").mkdir()
    for name in ("model.tar.gz", "dist/first.tar.gz", "dist/second.tar.gz"):
        (tmp_path / name).write_bytes(mme_models.linear().archive.read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [command for command in commands(ROOT / "docs" / "doctor.md") if "--image" not in command],
)
def test_every_command_of_the_doctor_succeeds_for_a_good_archive(folder: Path, command: str) -> None:
    path = Path(sys.executable).parent
    done = subprocess.run(["bash", "-c", f"PATH={path}:$PATH; {command}"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_to_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)", FENCE.sub("", page.read_text())):
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_lists_every_page() -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "index.md").read_text()))
    assert listed == {page.name for page in PAGES[1:]} - {"index.md"}
