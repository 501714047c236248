"""The limit is real: judged by the kernel's `oom_kill`, by exit codes, and by the kernel's count of written memory.

PSS, the obvious judge, changes with whatever else runs on the machine (docs/facts.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_mme import Endpoint, Model, Models, Run, Server, Settings
from pytest_mme.archives.archive import extract
from pytest_mme.errors import ContractError, FitsError, ServerStartError
from pytest_mme.libtensorflow import protos
from pytest_mme.serving.memory.enforcement import MIB
from pytest_mme.serving.memory.private_memory import private_bytes
from pytest_mme.settings import Enforcement, Setting
from pytest_mme.waiting import wait_for
from tests.lacking import needs_cgroup, needs_compiler
from tests.local.conftest import worker_of

Servers = Callable[..., Server]
Endpoints = Callable[..., Endpoint]


def kernel_kills(server: Server) -> int:
    """The kernel's own counter of the workers' cgroup."""
    table = Path(server.running.facts["cgroup"], "memory.oom_control")
    if not table.exists():
        table = Path(server.running.facts["cgroup"], "memory.events")
    return int(dict(line.split() for line in table.read_text().splitlines())["oom_kill"])


def load_all(server: Server, models: list[Model]) -> list[int]:
    """Load each; the statuses."""
    statuses = []
    for model in models:
        try:
            server.load(model)
            statuses.append(200)
        except ContractError as error:
            statuses.append(error.status)
    return statuses


def oom_codes(server: Server) -> list[int]:
    """The exit codes of the workers that the server reports as killed for lack of memory."""
    return [event.detail["code"] for event in server.timeline if event.kind == "oom"]


def test_weights_are_resident_and_unloading_frees_them(mme_server: Servers, mme_models: Models) -> None:
    server = mme_server(memory_mib=1000)
    light, heavy = mme_models.linear("light"), mme_models.linear("heavy", weights_mib=64)
    server.load(light)
    server.load(heavy)
    worker = worker_of(server, heavy)
    more_bytes = private_bytes(worker.pid) - private_bytes(worker_of(server, light).pid)
    assert 64 <= more_bytes / MIB <= 80  # what Fill leaves behind varies
    before = server.running.used_bytes()
    server.unload(heavy)
    assert (before - server.running.used_bytes()) / MIB >= 64


def _peaks_mib(server: Server) -> list[float]:
    return [event.detail["peak_bytes"] / MIB for event in server.timeline if event.kind == "sample"]


@pytest.mark.parametrize("enforcement", [pytest.param("cgroup", marks=needs_cgroup), "sampled"])
def test_a_peak_between_two_samples_is_recorded(mme_settings: Settings, enforcement: Enforcement) -> None:
    settings = dataclasses.replace(mme_settings, enforcement=Setting(enforcement, "test"))
    with Run(settings) as run, run.server(memory_mib=400) as server:
        model = run.models.linear("hungry", allocate_mib=100, sleep_ms=1000)
        server.load(model)
        wait_for(lambda: _peaks_mib(server) or None, what="the sample after the load", timeout_s=20)
        server.invoke(model, [1.0])
        server.unload(model)
        peak = wait_for(lambda: _peaks_mib(server)[1:] or None, what="the sample after the unload", timeout_s=20)[-1]
        assert peak >= 100
        assert all(event.detail["used_bytes"] < 100 * MIB for event in server.timeline if event.kind == "sample")


@needs_cgroup
def test_a_load_that_does_not_fit_is_507_and_nothing_is_killed(mme_server: Servers, mme_models: Models) -> None:
    server, fleet = mme_server(memory_mib=250), mme_models.fleet(3, weights_mib=80)
    assert load_all(server, fleet) == [200, 200, 507]
    assert kernel_kills(server) == 0
    assert [server.invoke(model, [1.0]) for model in fleet[:2]] == [model.answer([1.0]) for model in fleet[:2]]
    server.unload(fleet[0])
    assert load_all(server, fleet[2:]) == [200]


@needs_cgroup
def test_without_admission_the_kernel_kills_and_counts(mme_server: Servers, mme_models: Models) -> None:
    server, fleet = mme_server(memory_mib=250, admission="none"), mme_models.fleet(4, weights_mib=80)
    load_all(server, fleet)
    assert kernel_kills(server) >= 1
    wait_for(  # the kernel counts a kill a moment before the server reaps the worker
        lambda: len(oom_codes(server)) == kernel_kills(server) or None, what="word of every kill", timeout_s=10
    )
    assert set(oom_codes(server)) == {-9}
    assert server.ping().ok
    alive = [model for model in fleet if server.client.get(server.identifier(model)).ok]
    assert 0 < len(alive) < 4  # the kernel chooses whom it kills, and may kill more than it must
    assert [server.invoke(model, [1.0]) for model in alive] == [model.answer([1.0]) for model in alive]


@needs_cgroup
def test_a_model_that_outgrows_the_limit_at_predict_is_killed_alone(mme_server: Servers, mme_models: Models) -> None:
    server = mme_server(memory_mib=200)
    modest, greedy = mme_models.linear("modest"), mme_models.linear("greedy", allocate_mib=400)
    server.load(modest)
    server.load(greedy)
    with pytest.raises(ContractError, match="its worker was killed for lack of memory") as refused:
        server.invoke(greedy, [1.0])
    assert refused.value.status == 500
    assert kernel_kills(server) == 1
    assert server.invoke(modest, [1.0]) == modest.answer([1.0])
    server.load(greedy)
    server.check_resident(modest, greedy)


@needs_cgroup
def test_an_underestimated_load_is_507_and_remembered(mme_server: Servers, mme_models: Models, tmp_path: Path) -> None:
    """The variables have no shapes, so the kernel kills the first load; the second is not admitted."""
    model = mme_models.archive(_without_shapes(mme_models.linear(weights_mib=150), tmp_path), name="modest-looking")
    server = mme_server(memory_mib=100)
    assert load_all(server, [model]) == [507]
    assert load_all(server, [model]) == [507]
    assert kernel_kills(server) == 1


def _without_shapes(model: Model, tmp_path: Path) -> Path:
    """The same SavedModel with variables of unknown size."""
    extract(model.archive, tmp_path / "model")
    path = tmp_path / "model" / "1" / "saved_model.pb"
    saved_model = protos.SavedModel.FromString(path.read_bytes())
    for node in saved_model.meta_graphs[0].graph_def.node:
        if node.op == "VarHandleOp":
            node.attr["shape"].shape.unknown_rank = True
            del node.attr["shape"].shape.dim[:]
    path.write_bytes(saved_model.SerializeToString())
    return path.parents[1]


@pytest.fixture
def sampling_run(tmp_path: Path, mme_settings: Settings) -> Run:
    """A run whose limits are sampled, as where no cgroup may be made."""
    import dataclasses

    return Run(dataclasses.replace(mme_settings, enforcement=Setting("sampled", "test")), directory=tmp_path)


def test_without_a_cgroup_the_kit_kills_the_offender(sampling_run: Run, mme_models: Models) -> None:
    modest, greedy = mme_models.linear("modest"), mme_models.linear("greedy", allocate_mib=600, sleep_ms=2000)
    with sampling_run, sampling_run.server(memory_mib=300) as server:
        assert server.running.facts["enforcement"] == "sampled private memory"
        server.load(modest)
        server.load(greedy)
        with pytest.raises(ContractError, match="lack of memory"):
            server.invoke(greedy, [1.0])
        (death,) = [event for event in server.timeline if event.kind == "oom"]
        assert (death.model, death.detail["code"]) == ("greedy", -9)
        assert server.invoke(modest, [1.0]) == modest.answer([1.0])


def test_a_sampled_limit_refuses_what_does_not_fit(sampling_run: Run, mme_models: Models) -> None:
    with sampling_run, sampling_run.server(memory_mib=300) as server:
        assert load_all(server, mme_models.fleet(3, weights_mib=100)) == [200, 200, 507]
        assert not [event for event in server.timeline if event.kind == "oom"]


@needs_compiler
def test_tensorflow_reports_out_of_memory_and_the_worker_survives(mme_server: Servers, mme_models: Models) -> None:
    server = mme_server(memory_mib=200, oom="tensorflow")
    assert server.running.facts["enforcement"] == "allocator budget"
    greedy, modest = mme_models.linear("greedy", allocate_mib=400), mme_models.linear("modest")
    server.load(modest)
    server.load(greedy)
    worker = worker_of(server, greedy)
    for _ in range(3):
        with pytest.raises(ContractError, match="OOM when allocating tensor") as refused:
            server.invoke(greedy, [1.0])
        assert refused.value.status == 429
    assert worker.is_running()
    assert server.invoke(modest, [1.0]) == modest.answer([1.0])


@needs_compiler
def test_tensorflow_reports_that_a_load_is_out_of_memory(mme_server: Servers, mme_models: Models) -> None:
    server = mme_server(memory_mib=200, oom="tensorflow", admission="none")
    fleet = mme_models.fleet(4, weights_mib=64)
    assert load_all(server, fleet) == [200, 200, 200, 507]
    server.unload(fleet[0])
    assert load_all(server, fleet[3:]) == [200]  # what a dead worker held is free again
    assert not [event for event in server.timeline if event.kind in ("oom", "crash")]


@pytest.mark.parametrize(
    ("weights_mib", "oom"),
    [(0, "kernel"), (30, "kernel"), pytest.param(20, "tensorflow", marks=needs_compiler)],
)
def test_fits_is_exact(mme_endpoint: Endpoints, mme_models: Models, weights_mib: int, oom: str) -> None:
    fleet = mme_models.fleet(4, weights_mib=weights_mib)
    endpoint = mme_endpoint(fleet, fits=3, oom=oom)
    for model in fleet[:3]:
        assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    assert not [event for event in endpoint.timeline if event.kind == "evict"]
    endpoint.check_resident(*fleet[:3])
    assert endpoint.invoke(fleet[3], [1.0]) == fleet[3].answer([1.0])
    (evict,) = [event for event in endpoint.timeline if event.kind == "evict"]
    assert evict.model == fleet[0].name
    endpoint.check_resident(*fleet[1:])
    for model in (*fleet, *reversed(fleet)):
        endpoint.invoke(model, [1.0])
    assert len(endpoint.running.client.list().json()["models"]) == 3


@needs_cgroup
def test_models_that_were_not_invoked_yet_keep_their_claim(mme_endpoint: Endpoints, mme_models: Models) -> None:
    """Admission counts what they will hold, so that invoking them later kills none."""
    fleet = mme_models.fleet(6)
    endpoint = mme_endpoint(fleet, fits=3)
    client, folder = endpoint.running.client, endpoint.running.models
    statuses = []
    for model in fleet:
        extract(model.archive, folder / model.name)
        statuses.append(client.load(model.name, str(folder / model.name)).status)
    assert statuses == [200, 200, 200, 507, 507, 507]
    assert {client.invoke(model.name, b'{"instances": [[1.0]]}').status for model in fleet[:3]} == {200}


def test_an_impossible_fits_is_an_error_with_the_costs(mme_endpoint: Endpoints, mme_models: Models) -> None:
    models = [mme_models.linear("small"), mme_models.linear("other"), mme_models.linear("large", weights_mib=200)]
    with pytest.raises(FitsError, match=r"fits=1: no limit holds every 1 of these archives and no 2 of them") as odd:
        mme_endpoint(models, fits=1)
    assert "large: 2" in str(odd.value)


@pytest.mark.parametrize("fits", [0, 3, 1.5, "2"])
def test_fits_must_be_a_number_of_archives(mme_endpoint: Endpoints, mme_models: Models, fits: object) -> None:
    with pytest.raises(ValueError, match="give a number from 1 to 2, the number of archives"):
        mme_endpoint(mme_models.fleet(2), fits=fits)


def test_loads_at_the_same_time_do_not_overfill(
    mme_server: Servers, mme_models: Models, pool: ThreadPoolExecutor
) -> None:
    server, fleet = mme_server(memory_mib=340), mme_models.fleet(6, weights_mib=80)  # 100 are claimed for each
    loads = [pool.submit(load_all, server, [model]) for model in fleet]
    statuses = sorted(load.result()[0] for load in loads)
    assert statuses == [200, 200, 200, 507, 507, 507]
    assert not [event for event in server.timeline if event.kind == "oom"]


@needs_cgroup
def test_the_cgroup_is_removed_with_the_server(tmp_path: Path, mme_settings: Settings) -> None:
    with Run(mme_settings, directory=tmp_path) as run, run.server(memory_mib=100) as server:
        cgroup = Path(server.running.facts["cgroup"])
        assert cgroup.is_dir()
    assert not cgroup.exists()


def test_an_unavailable_enforcement_is_an_error(
    tmp_path: Path, mme_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no compiler
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with (
        Run(mme_settings, directory=tmp_path) as run,
        pytest.raises(ServerStartError) as refused,
        run.server(memory_mib=100, oom="tensorflow"),
    ):
        pass
    assert str(refused.value).splitlines() == [
        "the server 'server-1' did not start: oom=\"tensorflow\" cannot be had here",
        "  seen: no C compiler was found on the PATH",
        "  next: install gcc or clang",
    ]
