"""Which archive runs on which TensorFlow: at the end of a run, in JUnit XML, as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from pytest_mme import versions

INSTALLED = versions.installed()
TITLE = "which archive runs on which TensorFlow"
MODULE = """
    import pytest

    def test_answers(mme_endpoint, mme_models):
        model = mme_models.linear()
        assert mme_endpoint([model]).invoke(model, [1.0]) == model.answer([1.0])

    @pytest.mark.mme(tf=["2.5.3", "installed"])
    def test_by_its_mark(mme_server, mme_models):
        model, server = mme_models.keras(), mme_server()
        server.load(model)
        assert server.invoke(model, [2.0]) == model.answer([2.0])

    def test_loads(mme_server, mme_models):
        mme_server().load(mme_models.text())

    def test_another_of_that_name(mme_server, mme_models):
        mme_server().load(mme_models.linear(name="text"))

    def test_request_fails(mme_endpoint, mme_models):
        model = mme_models.forge(mme_models.linear(), "missing-nested-function", name="torn")
        mme_endpoint([model]).invoke(model, [1.0])

    def test_differs(mme_server, mme_models):
        model, server = mme_models.counter(), mme_server()
        server.load(model)
        server.invoke(model, [1.0], before=7.0)

    def test_not_unpacked(mme_endpoint, mme_models):
        model = mme_models.forge(mme_models.linear(), "hard-link", name="linked")
        mme_endpoint([model]).invoke(model, [1.0])

    def test_chooses_for_itself(mme_settings):
        pass
"""

both_ways = pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])


def run(inner: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    inner.makepyfile(MODULE)
    asked = ("--mme-tf=2.12.1", "--mme-tf=installed", "--mme-report=reports/mme.json", "--junitxml=junit.xml")
    return inner.runpytest_subprocess(*asked, *arguments)


def on(path: Path) -> dict[tuple[str, str], Any]:
    """Return the report's cells by model and version, for models of different names."""
    archives = json.loads(path.read_text())["matrix"]["archives"]
    return {(row["model"], version): cell for row in archives for version, cell in row["on"].items()}


def properties(path: Path) -> list[Any]:
    """Return the matrix entries in the JUnit report."""
    found = [one for one in ET.parse(path).iter("property") if one.get("name") == "mme_matrix"]
    return [json.loads(one.get("value") or "") for one in found]


@pytest.mark.versions
@both_ways
def test_the_matrix_is_shown_at_the_end_and_written_to_the_report_and_to_junit(
    inner: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    result = run(inner, *arguments)
    result.assert_outcomes(passed=10, failed=5)
    result.stdout.fnmatch_lines(
        [
            f"*= mme: {TITLE} =*",
            f" *  2.5.3 *  2.12.1 *  {INSTALLED}*",
            "counter *  -  *  [[]1[]] differs *  [[]1[]] differs*",
            "keras *  [[]2[]] Op type not*…  -  *  answers*",
            "linked *  -  *  [[]3[]] it holds 'blo*…  [[]3[]] it holds 'blo*…*",
            "model *  -  *  answers *  answers*",
            "text (????????)  -  *  loads *  loads*",
            "text (????????)  -  *  loads *  loads*",
            "torn *  -  *  [[]4[]] Function forg*…  [[]4[]] Function forg*…*",
            "[[]1[]] differs: answered {'identity': 'counter/1#*', 'y': [[]1.0[]]}, not Answer({*'y': [[]8.0[]]})",
            "[[]2[]] does not load: NOT_FOUND: Op type not registered 'DisableCopyOnRead'",
            "[[]3[]] does not load: it holds 'blobs/saved_model-1.pb', which is a hard link",
            "[[]4[]] request fails: Function forged_missing_within is not defined.",
        ],
        consecutive=True,
    )
    path = inner.path / "reports" / "mme.json"
    assert json.loads(path.read_text())["matrix"]["tensorflow"] == ["2.5.3", "2.12.1", INSTALLED]
    found = on(path)
    assert found["model", "2.12.1"] == {"verdict": "answers", "why": None}
    assert found["keras", "2.5.3"]["verdict"] == "does not load"
    assert ("keras", "2.12.1") not in found
    entries = properties(inner.path / "junit.xml")
    (keras,) = [one for one in entries if (one["model"], one["tensorflow"]) == ("keras", "2.5.3")]
    assert keras["why"] == "NOT_FOUND: Op type not registered 'DisableCopyOnRead'"
    assert len(entries) == 14


@pytest.mark.versions
@both_ways
def test_without_asked_versions_there_is_no_matrix(inner: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    inner.makepyfile(
        """
        def test_answers(mme_server, mme_models):
            for version in (None, "2.12.1"):
                mme_server(tf=version).load(mme_models.linear())
        """
    )
    result = inner.runpytest_subprocess("--mme-report=mme.json", "--junitxml=junit.xml", *arguments)
    result.assert_outcomes(passed=1)
    assert TITLE not in result.stdout.str()
    assert "mme_matrix" not in (inner.path / "junit.xml").read_text()
    assert json.loads((inner.path / "mme.json").read_text()) == {}


def test_one_version_makes_a_matrix_only_if_the_option_asks_for_it(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.mark.mme(tf=["installed"])
        def test_loads(mme_server, mme_models):
            mme_server().load(mme_models.linear())
        """
    )
    assert TITLE not in inner.runpytest_subprocess().stdout.str()
    assert TITLE in inner.runpytest_subprocess("--mme-tf=installed").stdout.str()


def test_a_json_report_that_cannot_be_written_ends_the_run_before_it_begins(inner: pytest.Pytester) -> None:
    inner.makepyfile("def test_nothing(): pass")
    (inner.path / "file").touch()
    result = inner.runpytest_subprocess("--mme-report=file/mme.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --mme-report=*/file/mme.json cannot be written: *"])
