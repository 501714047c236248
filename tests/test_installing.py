"""What docs/installing.md says of what was installed is what was recorded, and what pyproject.toml says."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement

from pytest_mme import versions
from tools import install_table

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "installing.md").read_text()
PROMISED = ("2.12.1", "2.15.1", "2.17.1", "2.19.1", "2.21.0")


def test_every_tried_installation_worked_and_replaced_no_package() -> None:
    rows = install_table.read()["tried"]
    assert {row["name"] for row in rows} == set(install_table.TRIED)
    assert [row for row in rows if row["failed"] or row["changed"]] == []
    for row in rows:
        assert row["serving"] == (
            row["tensorflow"].partition("==")[2] or f"{versions.DEFAULT} (fetched: none is installed)"
        )


def test_each_version_was_resolved_in_both_forms_and_some_were_tried() -> None:
    resolved = {(row["form"], row["version"]) for row in install_table.read()["resolved"]}
    assert resolved == {(form, version) for form in install_table.FORMS for version in install_table.VERSIONS}
    tried = {row["tensorflow"] for row in install_table.read()["tried"]}
    assert {f"tensorflow=={version}" for version in PROMISED} <= tried
    assert {one.partition("==")[2] for one in tried} >= set(install_table.VERSIONS)


def test_the_extras_are_those_of_the_project() -> None:
    described = re.findall(r"^- `([\w-]+)`: ", PAGE, re.MULTILINE)
    assert set(described) == set(extras())


def test_the_extra_all_has_every_extra_except_those_that_bring_tensorflow() -> None:
    (all_of_them,) = map(Requirement, extras()["all"])
    assert all_of_them.extras == set(extras()) - {"all", "tensorflow", "gpu"}


def test_no_tensorflow_is_required() -> None:
    declared = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[0]
    assert not re.search(r'^ *"tensorflow', declared, re.MULTILINE)


def extras() -> dict[str, list[str]]:
    """The requirements of each extra; Python 3.10 has no `tomllib`."""
    text = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    return {
        name: re.findall(r'"([^"]+)"', inside)
        for name, inside in re.findall(r"^(\w+) = \[(.*?)\](?= *(?:#.*)?$)", text, re.MULTILINE | re.DOTALL)
    }
