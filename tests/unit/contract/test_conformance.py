"""The judge before servers that keep the contract, and before servers that break it in one way each."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_mme import ContractClient, Model, Models
from pytest_mme.contract.client import Reply
from pytest_mme.contract.conformance.judge import CLAUSES, Report, Result, Specimens, Subject, judge_conformance
from pytest_mme.errors import UnavailableError
from tests.unit.contract.lawful import QUICK, Lawful, Response, subject
from tests.unit.contract.unlawful import WRONG
from tests.unit.contract.unlawful.loading import HangsOnLoad, HangsOnUnload, NeverUnloads
from tests.unit.contract.unlawful.looking import IsNotHealthy

OPTIONAL = {"list.pages", "unload.frees-memory"}


@pytest.fixture(scope="module")
def specimens(mme_models: Models) -> Specimens:
    return Specimens.build(mme_models)


def judged(server: Lawful, models: Path, *, pages: bool = False) -> Report:
    with subject(server, models) as target:
        return judge_conformance(target, _specimens(server), pages=pages, limits=QUICK)


def _specimens(server: Lawful) -> Specimens:
    first, second, heavy = server.specimens
    return Specimens(first=first, second=second, heavy=heavy)


def with_verdict(report: Report, verdict: str) -> set[str]:
    return {result.clause.id for result in report.results if result.verdict == verdict}


def result_of(report: Report, identifier: str) -> Result:
    return next(result for result in report.results if result.clause.id == identifier)


def test_each_clause_has_one_id_and_needs_only_clauses_before_it() -> None:
    seen: set[str] = set()
    for clause in CLAUSES:
        assert clause.id not in seen
        assert set(clause.needs) <= seen
        seen.add(clause.id)


def test_a_server_that_keeps_the_contract_passes_twice_and_is_left_as_it_was(
    specimens: Specimens, tmp_path: Path
) -> None:
    server = Lawful(specimens)
    for _ in range(2):
        report = judged(server, tmp_path, pages=True)
        assert with_verdict(report, "pass") == {clause.id for clause in CLAUSES}
        assert report.verdict == "pass"
        assert report.left == ()
        assert server.loaded == {}
        assert list(tmp_path.iterdir()) == []


def test_for_every_clause_there_is_a_server_that_breaks_it() -> None:
    assert set[str]().union(*WRONG.values()) == {clause.id for clause in CLAUSES}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_server_that_breaks_one_thing_deviates_in_those_clauses_alone(
    wrong: type[Lawful], specimens: Specimens, tmp_path: Path
) -> None:
    report = judged(wrong(specimens), tmp_path, pages="list.pages" in WRONG[wrong])
    assert with_verdict(report, "deviation") == WRONG[wrong]
    assert report.verdict == "deviation"
    for result in report.results:
        assert result.verdict == "pass" or result.reason
        assert result.exchanges or result.verdict == "not judged"
    assert list(tmp_path.iterdir()) == []


def test_a_result_has_the_calls_that_were_made(specimens: Specimens, tmp_path: Path) -> None:
    result = result_of(judged(IsNotHealthy(specimens), tmp_path), "ping.200")
    assert result.reason == "the reply is 503, not 200"
    (exchange,) = result.exchanges
    assert (exchange.sent, exchange.seen) == ("GET /ping", "503")
    assert exchange.seconds > 0


def test_a_clause_that_builds_on_a_broken_one_is_not_judged(specimens: Specimens, tmp_path: Path) -> None:
    report = judged(IsNotHealthy(specimens), tmp_path)
    assert result_of(report, "ping.after-failed-load").reason == "it builds on ping.200 (deviation)"
    assert with_verdict(report, "not judged") == {"ping.after-failed-load", "list.pages"}


def test_pages_and_memory_are_judged_only_on_demand(specimens: Specimens, tmp_path: Path) -> None:
    with subject(Lawful(specimens), tmp_path) as target:
        report = judge_conformance(dataclasses.replace(target, used_bytes=None), specimens)
    assert with_verdict(report, "not judged") == OPTIONAL
    assert report.verdict == "pass"


def test_memory_whose_measurement_shows_nothing_is_not_judged(specimens: Specimens, tmp_path: Path) -> None:
    with subject(Lawful(specimens), tmp_path) as target:
        report = judge_conformance(dataclasses.replace(target, used_bytes=lambda: 0), specimens)
    assert (
        "64 MiB of weights was loaded, but only 0.0 MiB were measured"
        in result_of(report, "unload.frees-memory").reason
    )


def test_memory_that_cannot_be_measured_is_not_judged(specimens: Specimens, tmp_path: Path) -> None:
    def used_bytes() -> int:
        raise UnavailableError("the memory of the server", "it has no such call", "ask the kernel")

    with subject(Lawful(specimens), tmp_path) as target:
        report = judge_conformance(dataclasses.replace(target, used_bytes=used_bytes), specimens)
    assert report.verdict == "pass"
    assert "it has no such call" in result_of(report, "unload.frees-memory").reason


def test_other_models_do_not_matter_and_stay_loaded(specimens: Specimens, tmp_path: Path) -> None:
    server = Lawful(specimens)
    others: dict[str, tuple[str, Model]] = {f"other-{n}": ("/elsewhere", specimens.first) for n in range(130)}
    server.loaded.update(others)
    report = judged(server, tmp_path, pages=True)
    assert report.verdict == "pass"
    assert result_of(report, "list.pages").reason == "201 models on 3 pages"
    assert server.loaded == others


def test_a_server_without_memory_for_a_tiny_model_is_not_judged(specimens: Specimens, tmp_path: Path) -> None:
    class Full(Lawful):
        def load(self, identifier: str, url: str) -> Response:
            return 507, {}

    report = judged(Full(specimens), tmp_path)
    assert report.verdict == "not judged"
    assert "no memory for a tiny model" in result_of(report, "load.200").reason


@pytest.mark.parametrize("server_type", [HangsOnUnload, NeverUnloads])
def test_models_that_are_not_unloaded_are_named(
    server_type: type[Lawful], specimens: Specimens, tmp_path: Path
) -> None:
    server = server_type(specimens)
    report = judged(server, tmp_path)
    assert set(server.loaded) <= set(report.left)
    assert report.left


def test_a_model_that_may_still_be_loaded_later_is_named(specimens: Specimens, tmp_path: Path) -> None:
    assert len(judged(HangsOnLoad(specimens), tmp_path).left) == 1


class Interrupted(ContractClient):
    """A client that is interrupted by Ctrl-C as soon as a model has been loaded."""

    def load(self, identifier: str, url: str, *, timeout_s: float = 10) -> Reply:
        super().load(identifier, url, timeout_s=timeout_s)
        raise KeyboardInterrupt


def test_an_interrupted_judge_unloads_and_removes_its_models(specimens: Specimens, tmp_path: Path) -> None:
    server = Lawful(specimens)
    with subject(server, tmp_path) as target, pytest.raises(KeyboardInterrupt):
        judge_conformance(dataclasses.replace(target, client=Interrupted(target.client.url)), specimens)
    assert server.loaded == {}
    assert list(tmp_path.iterdir()) == []


def test_models_that_cannot_be_put_raise_an_error(specimens: Specimens, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with subject(Lawful(specimens), tmp_path / "file") as target, pytest.raises(OSError, match="file"):
        judge_conformance(target, specimens)


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never replies."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_never_replies_is_not_judged(silent: str, specimens: Specimens, tmp_path: Path) -> None:
    target = Subject(client=ContractClient(silent), models=tmp_path, place=str)
    report = judge_conformance(target, specimens, limits=QUICK)
    assert with_verdict(report, "not judged") == {clause.id for clause in CLAUSES}
    assert report.verdict == "not judged"
    assert report.results[0].reason == "the server does not reply: no whole reply within 1 s"


def test_a_port_without_a_server_is_not_judged(silent: str, specimens: Specimens, tmp_path: Path) -> None:
    free = silent.rpartition(":")[0] + ":9"
    report = judge_conformance(
        Subject(client=ContractClient(free), models=tmp_path, place=str), specimens, limits=QUICK
    )
    assert "Connection refused" in report.results[0].reason


def test_each_clause_is_announced_before_it_is_judged(specimens: Specimens, tmp_path: Path) -> None:
    announced: list[str] = []
    with subject(Lawful(specimens), tmp_path) as target:
        judge_conformance(target, specimens, begin=lambda clause: announced.append(clause.id))
    assert announced == [clause.id for clause in CLAUSES if clause.id != "list.pages"]
