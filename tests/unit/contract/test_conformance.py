"""The judge before servers that keep the contract, and before servers that break it in one way each."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_mme import ContractClient, Model, Models
from pytest_mme.contract.client import Reply
from pytest_mme.contract.conformance.judge import CLAUSES, Report, Result, Specimens, Subject, judge
from pytest_mme.errors import UnavailableError
from tests.unit.contract.lawful import QUICK, Answer, Lawful, subject
from tests.unit.contract.unlawful import WRONG, HangsOnLoad, HangsOnUnload, IsNotHealthy, NeverUnloads

OPTIONAL = {"list.pages", "unload.frees-memory"}


@pytest.fixture(scope="module")
def specimens(mme_models: Models) -> Specimens:
    return Specimens.build(mme_models)


def judged(server: Lawful, models: Path, *, pages: bool = False) -> Report:
    with subject(server, models) as target:
        return judge(target, _specimens(server), pages=pages, limits=QUICK)


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


def test_every_clause_can_fail() -> None:
    assert set[str]().union(*WRONG.values()) == {clause.id for clause in CLAUSES}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_server_that_is_wrong_in_one_thing_is_told_so(
    wrong: type[Lawful], specimens: Specimens, tmp_path: Path
) -> None:
    report = judged(wrong(specimens), tmp_path, pages="list.pages" in WRONG[wrong])
    assert with_verdict(report, "deviation") == WRONG[wrong]
    assert report.verdict == "deviation"
    for result in report.results:
        assert result.verdict == "pass" or result.reason
        assert result.exchanges or result.verdict == "not judged"
    assert list(tmp_path.iterdir()) == []


def test_a_result_says_what_was_sent_and_seen(specimens: Specimens, tmp_path: Path) -> None:
    result = result_of(judged(IsNotHealthy(specimens), tmp_path), "ping.200")
    assert result.reason == "answered 503, not 200"
    (exchange,) = result.exchanges
    assert (exchange.sent, exchange.seen) == ("GET /ping", "503")
    assert exchange.seconds > 0


def test_what_builds_on_a_broken_clause_is_not_judged(specimens: Specimens, tmp_path: Path) -> None:
    report = judged(IsNotHealthy(specimens), tmp_path)
    assert result_of(report, "ping.after-failed-load").reason == "it builds on ping.200 (deviation)"
    assert with_verdict(report, "not judged") == {"ping.after-failed-load", "list.pages"}


def test_pages_and_memory_are_judged_on_demand_only(specimens: Specimens, tmp_path: Path) -> None:
    with subject(Lawful(specimens), tmp_path) as target:
        report = judge(dataclasses.replace(target, used_bytes=None), specimens)
    assert with_verdict(report, "not judged") == OPTIONAL
    assert report.verdict == "pass"


def test_memory_that_nobody_sees_is_not_judged(specimens: Specimens, tmp_path: Path) -> None:
    with subject(Lawful(specimens), tmp_path) as target:
        report = judge(dataclasses.replace(target, used_bytes=lambda: 0), specimens)
    assert "64 MiB of weights was loaded, and 0.0 MiB were seen" in result_of(report, "unload.frees-memory").reason


def test_memory_that_cannot_be_measured_is_not_judged(specimens: Specimens, tmp_path: Path) -> None:
    def used_bytes() -> int:
        raise UnavailableError("the memory of the server", "it does not tell", "ask the kernel")

    with subject(Lawful(specimens), tmp_path) as target:
        report = judge(dataclasses.replace(target, used_bytes=used_bytes), specimens)
    assert report.verdict == "pass"
    assert "it does not tell" in result_of(report, "unload.frees-memory").reason


def test_models_of_others_do_not_matter_and_stay(specimens: Specimens, tmp_path: Path) -> None:
    server = Lawful(specimens)
    others: dict[str, tuple[str, Model]] = {f"other-{n}": ("/elsewhere", specimens.first) for n in range(130)}
    server.loaded.update(others)
    report = judged(server, tmp_path, pages=True)
    assert report.verdict == "pass"
    assert result_of(report, "list.pages").reason == "201 models on 3 pages"
    assert server.loaded == others


def test_a_server_without_memory_is_neither_good_nor_bad(specimens: Specimens, tmp_path: Path) -> None:
    class Full(Lawful):
        def load(self, identifier: str, url: str) -> Answer:
            return 507, {}

    report = judged(Full(specimens), tmp_path)
    assert report.verdict == "not judged"
    assert "no memory for a tiny model" in result_of(report, "load.200").reason


@pytest.mark.parametrize("deaf", [HangsOnUnload, NeverUnloads])
def test_models_that_are_not_unloaded_are_named(deaf: type[Lawful], specimens: Specimens, tmp_path: Path) -> None:
    server = deaf(specimens)
    report = judged(server, tmp_path)
    assert set(server.loaded) <= set(report.left)
    assert report.left


def test_a_model_that_may_still_be_loaded_later_is_named(specimens: Specimens, tmp_path: Path) -> None:
    assert len(judged(HangsOnLoad(specimens), tmp_path).left) == 1


class Interrupted(ContractClient):
    """Somebody presses Ctrl-C as soon as a model has been loaded."""

    def load(self, identifier: str, url: str, *, timeout_s: float = 10) -> Reply:
        super().load(identifier, url, timeout_s=timeout_s)
        raise KeyboardInterrupt


def test_an_interrupted_judge_cleans_up(specimens: Specimens, tmp_path: Path) -> None:
    server = Lawful(specimens)
    with subject(server, tmp_path) as target, pytest.raises(KeyboardInterrupt):
        judge(dataclasses.replace(target, client=Interrupted(target.client.url)), specimens)
    assert server.loaded == {}
    assert list(tmp_path.iterdir()) == []


def test_models_that_cannot_be_put_are_an_error_and_no_deviation(specimens: Specimens, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with subject(Lawful(specimens), tmp_path / "file") as target, pytest.raises(OSError, match="file"):
        judge(target, specimens)


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_says_nothing_is_not_judged(silent: str, specimens: Specimens, tmp_path: Path) -> None:
    target = Subject(client=ContractClient(silent), models=tmp_path, place=str)
    report = judge(target, specimens, limits=QUICK)
    assert with_verdict(report, "not judged") == {clause.id for clause in CLAUSES}
    assert report.verdict == "not judged"
    assert "ping, no whole answer within 1 s; list, no whole answer within 1 s" in report.results[0].reason


def test_a_server_that_is_not_there_is_not_judged(silent: str, specimens: Specimens, tmp_path: Path) -> None:
    nobody = silent.rpartition(":")[0] + ":9"
    report = judge(Subject(client=ContractClient(nobody), models=tmp_path, place=str), specimens, limits=QUICK)
    assert "Connection refused" in report.results[0].reason


def test_each_clause_is_announced(specimens: Specimens, tmp_path: Path) -> None:
    announced: list[str] = []
    with subject(Lawful(specimens), tmp_path) as target:
        judge(target, specimens, begin=lambda clause: announced.append(clause.id))
    assert announced == [clause.id for clause in CLAUSES if clause.id != "list.pages"]
