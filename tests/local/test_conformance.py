"""The embedded server keeps the contract, however it is asked: by the judge, the command line, or pytest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_mme import Models, Server
from pytest_mme.contract.conformance.judge import CLAUSES, Report, Specimens, Subject, judge

Servers = Callable[..., Server]


def judged(server: Server, models: Models, *, pages: bool = False) -> Report:
    running = server.running
    subject = Subject(client=running.client, models=running.models, place=running.place, used_bytes=running.used_bytes)
    return judge(subject, Specimens.build(models), pages=pages)


def unkept(report: Report) -> dict[str, str]:
    return {result.clause.id: result.reason for result in report.results if result.verdict != "pass"}


def test_every_clause_is_kept_and_nothing_is_left(mme_server: Servers, mme_models: Models) -> None:
    server = mme_server()
    report = judged(server, mme_models, pages=True)
    assert unkept(report) == {}
    assert len(report.results) == len(CLAUSES)
    assert report.left == ()
    assert server.list() == []
    assert list(server.running.models.iterdir()) == []


def test_another_model_does_not_matter_and_stays(mme_server: Servers, mme_models: Models) -> None:
    server, other = mme_server(), mme_models.linear("other")
    identifier = server.load(other)
    for _ in range(2):
        assert set(unkept(judged(server, mme_models))) == {"list.pages"}
        assert [one["modelName"] for one in server.list()] == [identifier]
        assert server.invoke(other, [1.0]) == other.answer([1.0])


def test_a_server_that_is_full_is_not_judged(mme_server: Servers, mme_models: Models) -> None:
    report = judged(mme_server(memory_mib=1), mme_models)
    assert report.verdict == "not judged"
    assert "no memory for a tiny model" in unkept(report)["load.200"]


def test_small_memory_is_enough_but_for_the_clause_about_memory(mme_server: Servers, mme_models: Models) -> None:
    assert set(unkept(judged(mme_server(memory_mib=60), mme_models))) == {"list.pages", "unload.frees-memory"}


@pytest.mark.parametrize("how", [{"admission": "none"}, {"oom": "tensorflow", "memory_mib": 300}])
def test_every_kind_of_memory_keeps_the_contract(
    mme_server: Servers, mme_models: Models, how: dict[str, object]
) -> None:
    assert judged(mme_server(**how), mme_models).verdict == "pass"
