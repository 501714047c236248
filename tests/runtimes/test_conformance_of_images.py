"""The conformance of the project's own images, in containers that the command starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from pytest_mme.cli import app


def judged(image: str, file: Path) -> tuple[int, dict[str, Any]]:
    """Exit status and report."""
    done = CliRunner().invoke(app, ["conformance", image, "--json", str(file)])
    return done.exit_code, json.loads(file.read_text())


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    return {clause["id"]: clause["verdict"] for clause in report["clauses"]}


def test_the_embedded_server_keeps_every_clause_in_a_container(server_image: str, tmp_path: Path) -> None:
    status, report = judged(server_image, tmp_path / "first.json")
    seen = verdicts(report)
    assert status == 0
    assert {clause for clause, verdict in seen.items() if verdict != "pass"} == {"list.pages"}  # not asked for
    assert verdicts(judged(server_image, tmp_path / "second.json")[1]) == seen


def test_multi_model_server_deviates_from_the_known_clauses_only(mms_image: str, tmp_path: Path) -> None:
    """Column M of what real containers do: a body in the answer to a ping, memory that is not free at once.

    That is free half a second later, so on a busy machine it may be before anybody has looked.
    """
    status, report = judged(mms_image, tmp_path / "report.json")
    seen = verdicts(report)
    assert status == 1
    deviations = {clause for clause, verdict in seen.items() if verdict == "deviation"}
    assert deviations - {"unload.frees-memory"} == {"ping.empty"}
