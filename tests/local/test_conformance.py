"""The embedded server keeps the contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_mme import Models, Server
from pytest_mme.contract.conformance.judge import CLAUSES, Report, Specimens, Subject, judge_conformance
from tests.lacking import needs_compiler

pytestmark = pytest.mark.slow

Servers = Callable[..., Server]


def judged(server: Server, models: Models, *, pages: bool = False) -> Report:
    running = server.running
    subject = Subject(client=running.client, models=running.models, place=running.place, used_bytes=running.used_bytes)
    return judge_conformance(subject, Specimens.build(models), pages=pages)


def not_passed(report: Report) -> dict[str, str]:
    return {result.clause.id: result.reason for result in report.results if result.verdict != "pass"}


def test_every_clause_passes_and_nothing_is_left(mme_server: Servers, mme_models: Models) -> None:
    server = mme_server()
    report = judged(server, mme_models, pages=True)
    assert not_passed(report) == {}
    assert len(report.results) == len(CLAUSES)
    assert report.left == ()
    assert server.list() == []
    assert list(server.running.models.iterdir()) == []


def test_another_model_does_not_matter_and_stays_loaded(mme_server: Servers, mme_models: Models) -> None:
    server, other = mme_server(), mme_models.linear("other")
    identifier = server.load(other)
    for _ in range(2):
        assert set(not_passed(judged(server, mme_models))) == {"list.pages"}
        assert [one["modelName"] for one in server.list()] == [identifier]
        assert server.invoke(other, [1.0]) == other.answer([1.0])


def test_a_server_without_memory_for_a_tiny_model_is_not_judged(mme_server: Servers, mme_models: Models) -> None:
    report = judged(mme_server(memory_mib=1), mme_models)
    assert report.verdict == "not judged"
    assert "no memory for a tiny model" in not_passed(report)["load.200"]


def test_with_60_mib_all_clauses_but_that_about_memory_are_judged(mme_server: Servers, mme_models: Models) -> None:
    assert set(not_passed(judged(mme_server(memory_mib=60), mme_models))) == {"list.pages", "unload.frees-memory"}


@pytest.mark.parametrize(
    "how", [{"admission": "none"}, pytest.param({"oom": "tensorflow", "memory_mib": 300}, marks=needs_compiler)]
)
def test_the_contract_is_kept_with_every_way_of_limiting_memory(
    mme_server: Servers, mme_models: Models, how: dict[str, object]
) -> None:
    assert judged(mme_server(**how), mme_models).verdict == "pass"
