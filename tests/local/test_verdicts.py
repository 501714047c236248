"""What each release does with each forgery: the recorded verdicts are measured, and the doctor agrees with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_mme import Models, versions
from pytest_mme.archives.op_registry import registry
from pytest_mme.doctor import examine
from pytest_mme.errors import ArchiveError
from pytest_mme.models.forging.forge import FORGERIES
from pytest_mme.models.forging.verdicts import Verdict, releases, verdict

TOOL = Path(__file__).parents[2] / "tools" / "make_versions.py"
WRONG = ("not loaded", "not answered", "differs")


@pytest.mark.parametrize(
    "version",
    [
        *(pytest.param(other, marks=pytest.mark.versions) for other in ("2.5.3", "2.12.1", "2.15.1")),
        versions.installed(),
    ],
)
def test_the_recorded_verdicts_are_measured_again(version: str) -> None:
    done = subprocess.run([sys.executable, str(TOOL), "--measure", version], capture_output=True, text=True, check=True)
    measured = {name: Verdict(**fields) for name, fields in json.loads(done.stdout).items()}
    assert measured == {name: verdict(name, version) for name in measured}
    assert len(measured) > len(FORGERIES) / 2


def test_every_known_release_was_measured() -> None:
    assert tuple(releases()) == registry().releases


@pytest.mark.parametrize("forgery", FORGERIES)
def test_the_doctor_predicts_what_every_release_does(mme_models: Models, forgery: str) -> None:
    try:
        archive = mme_models.forge(mme_models.linear(), forgery).archive
    except ArchiveError:
        archive = mme_models.forge(mme_models.keras(), forgery).archive
    measured = {release: known for release in releases() if (known := verdict(forgery, release)) is not None}
    assert measured
    for release, known in measured.items():
        worst = [finding.severity for finding in examine(archive, [release]) if finding.severity != "info"]
        if known.outcome == "answers":
            assert "error" not in worst, f"{release}: it answers"
        else:
            assert known.outcome in WRONG
            assert worst, f"{release}: it is {known.outcome}, and nothing is found"


def test_the_verdict_of_an_unmeasured_release_is_none() -> None:
    assert verdict("unknown-op", "9.1.0") is None
    assert verdict("no-such-forgery", "2.12.1") is None


def test_a_patch_release_counts_as_the_last_of_its_minor_version() -> None:
    assert verdict("drift-ctc-blank", "2.5.0") == verdict("drift-ctc-blank", "2.5.3") == Verdict(outcome="differs")
