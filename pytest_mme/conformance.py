"""One test for each clause of the container contract: `pytest --pyargs pytest_mme.conformance`.

The server is the one that the run's settings choose. It is judged once; each test shows one clause.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import pytest

from pytest_mme.contract.conformance.judge import CLAUSES, Clause, Report, Specimens, Subject, judge_conformance
from pytest_mme.contract.conformance.report import explanation
from pytest_mme.plugin.evidence import evidence_of

if TYPE_CHECKING:
    from pytest_mme.kit import Run
    from pytest_mme.models.builder import Models
    from pytest_mme.runtimes.server import Server

    Judged: TypeAlias = tuple[Report, Server]


@pytest.fixture(scope="module")
def judged(_mme_run: Run, mme_models: Models) -> Iterator[Judged]:
    """Judge one server for all tests: `mme_server` would start one for each."""
    with _mme_run.server(name="judged") as server:
        running = server.running
        subject = Subject(
            client=running.client, models=running.models, place=running.place, used_bytes=running.used_bytes
        )
        yield judge_conformance(subject, Specimens.build(mme_models)), server


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.id)
def test_clause(clause: Clause, judged: Judged, request: pytest.FixtureRequest) -> None:
    """Fail with the clause and what was seen where the server deviates; skip what could not be judged."""
    report, server = judged
    result = report.results[CLAUSES.index(clause)]
    if result.verdict == "not judged":
        pytest.skip(result.reason)
    if result.verdict == "deviation":
        evidence = evidence_of(request.node)
        evidence.servers.append(server)
        for event in server.timeline:
            evidence.timeline.add(event)
        pytest.fail(explanation(result), pytrace=False)
