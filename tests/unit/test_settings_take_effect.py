"""Each setting does something: what a run, a header or a command makes of it, and which test shows that."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner

from pytest_mme import Model, Run, Settings
from pytest_mme.cli import app
from pytest_mme.cli import replay as replay_command
from pytest_mme.errors import ServerStartError, UnavailableError
from pytest_mme.libtensorflow import wheels
from pytest_mme.replay import bundle as bundles
from pytest_mme.replay.bundle import Bundle
from pytest_mme.runtimes import leases
from pytest_mme.runtimes.docker import runtime as docker_runtime
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.settings import OPTIONS
from pytest_mme.timeline.events import Timeline
from tests.unit.models.conftest import ROOT

LONG_AGO = (1_000_000_000, 1_000_000_000)
HERE = "tests/unit/test_settings_take_effect.py"
SHOWN_BY = {
    "runtime": "tests/runtimes/test_attach.py::test_an_attached_server_answers_and_keeps_no_model",
    "tf": "tests/plugin/test_matrix.py::test_one_version_makes_a_matrix_only_if_the_option_asks_for_it",
    "image": f"{HERE}::test_the_image_is_that_of_servers_without_one",
    "pull": f"{HERE}::test_pull_decides_whether_an_image_is_fetched",
    "url": "tests/runtimes/test_attach.py::test_an_attached_server_answers_and_keeps_no_model",
    "url_models": "tests/runtimes/test_attach.py::test_the_server_gets_its_own_path_of_a_shared_folder",
    "enforcement": "tests/local/test_memory.py::test_without_a_cgroup_the_kit_kills_the_offender",
    "device": f"{HERE}::test_models_run_on_the_device",
    "keep": "tests/plugin/test_cleaning_up.py::test_keep_decides_whether_the_directory_of_a_failed_run_is_kept",
    "evidence": "tests/plugin/test_evidence.py::test_no_evidence_leaves_the_reason",
    "report": "tests/plugin/test_matrix.py::test_the_matrix_is_shown_at_the_end_and_written_to_the_report_and_to_junit",
    "seed": f"{HERE}::test_chaos_without_a_seed_takes_that_of_the_run",
    "cache": f"{HERE}::test_models_and_measurements_are_kept_in_the_cache",
    "cache_mib": f"{HERE}::test_models_that_take_more_than_the_cache_may_are_dropped",
    "tf_cache_mib": f"{HERE}::test_versions_that_take_more_than_their_cache_may_are_dropped",
    "doctor": "tests/plugin/test_doctor.py::test_each_archive_is_a_test",
    "no_signal": "tests/plugin/test_cleaning_up.py::test_no_signal_leaves_sigterm_alone",
}
"""A test of each setting that fails where the setting is ignored."""


def test_every_setting_has_a_test_of_its_effect() -> None:
    assert list(SHOWN_BY) == [option.name for option in OPTIONS]
    for place in SHOWN_BY.values():
        file, _, test = place.partition("::")
        assert f"\ndef {test}(" in (ROOT / file).read_text(), place


def run_with(**settings: object) -> Run:
    """A run with these settings and no other."""
    return Run(Settings.resolve(environment={f"PYTEST_MME_{name.upper()}": str(it) for name, it in settings.items()}))


def test_the_image_is_that_of_servers_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_for(monkeypatch)
    with run_with(runtime="docker", image="mine:1") as run:
        for spec in (ServerSpec(), ServerSpec(image="another:1")):
            with pytest.raises(UnavailableError):
                run.runtime.identity(spec)
        with pytest.raises(UnavailableError, match=r"the image is mine:1 \(environment\), and has its own"):
            run.runtime.identity(ServerSpec(tf="2.15.1"))
    assert [image for image, _ in asked] == ["mine:1", "another:1"]


@pytest.mark.parametrize("pull", ["never", "missing", "always"])
def test_pull_decides_whether_an_image_is_fetched(monkeypatch: pytest.MonkeyPatch, pull: str) -> None:
    asked = asked_for(monkeypatch)
    with run_with(runtime="docker", pull=pull) as run, pytest.raises(UnavailableError):
        run.runtime.identity(ServerSpec(image="mine:1"))
    assert asked == [("mine:1", pull)]


def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The images that an engine is asked for, and whether to fetch them; it has none."""
    asked: list[tuple[str, str]] = []

    def none(_: object, name: str, pull: str) -> NoReturn:
        asked.append((name, pull))
        raise UnavailableError(f"the image {name}", "this engine has none", "fetch it")

    containers = SimpleNamespace(list=lambda **_: [])
    monkeypatch.setattr(docker_runtime, "connect", lambda: SimpleNamespace(close=lambda: None, containers=containers))
    monkeypatch.setattr(docker_runtime, "find_image", none)
    return asked


def test_models_run_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a machine with a GPU shows none
    with (
        run_with(device="gpu") as run,
        pytest.raises(ServerStartError, match='device="gpu" cannot be had here'),
        run.server(),
    ):
        pytest.fail("it started")


@pytest.mark.parametrize(("keep", "is_kept"), [("never", False), ("failed", False), ("always", True)])
def test_a_run_without_pytest_keeps_its_directory_always_or_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keep: str, is_kept: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with run_with(keep=keep) as run:
        name = run.directory.name
    left = [path.name for path in leases.base().iterdir()]
    assert left == ([f"kept-{name}"] if is_kept else [])


@pytest.mark.parametrize(("given", "taken"), [(None, 42), (7, 7), (0, 0)])
def test_chaos_without_a_seed_takes_that_of_the_run(given: int | None, taken: int) -> None:
    model = Model(name="m", archive=Path("m.tar.gz"))
    server = SimpleNamespace(name="s")
    victim: Any = SimpleNamespace(running=server, recording=Timeline(), model=lambda _: model, in_effect=[])
    with run_with(seed=42) as run, run.faults(victim).chaos(model, seconds=1e-6, seed=given) as schedule:
        assert schedule.seed == taken
    assert {event.detail["seed"] for event in victim.recording} == {taken}


def test_models_and_measurements_are_kept_in_the_cache(tmp_path: Path) -> None:
    with run_with(cache=tmp_path) as run, run.aws() as aws:
        model = run.models.linear()
        with run.endpoint([model], aws=aws, fits=1) as endpoint:
            assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    assert model.archive.parent == tmp_path / "models"
    assert list((tmp_path / "costs").iterdir())


def test_what_saves_models_of_another_tensorflow_is_kept_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    with run_with(cache=tmp_path) as run, pytest.raises(UnavailableError):
        run.models.keras(saved_by="2.15.1")
    assert (tmp_path / "exporters").is_dir()


def test_models_that_take_more_than_the_cache_may_are_dropped(tmp_path: Path) -> None:
    old = tmp_path / "models" / "old.tar.gz"
    old.parent.mkdir()
    old.write_bytes(bytes(2 << 20))
    os.utime(old, LONG_AGO)
    with run_with(cache=tmp_path, cache_mib=3) as run:
        run.models.linear()
    assert old.exists()
    with run_with(cache=tmp_path, cache_mib=1) as run:
        run.models.linear("another")
    assert not old.exists()


def test_versions_that_take_more_than_their_cache_may_are_dropped(tmp_path: Path) -> None:
    for number, version in enumerate(("2.12.1", "2.13.1")):
        directory = tmp_path / "tensorflow" / version
        directory.mkdir(parents=True)
        (directory / wheels.CC).write_bytes(bytes(1 << 20))
        (directory / "used").touch()
        os.utime(directory / "used", (LONG_AGO[0] + number,) * 2)
    for mib, left in ((2, ["2.12.1", "2.13.1"]), (1, ["2.13.1"])):
        with run_with(cache=tmp_path, tf_cache_mib=mib) as run:
            run.version_cache.prune()
            assert [kept.version for kept in run.version_cache.kept()] == left


@pytest.mark.parametrize("command", [["bundle", "--list"], ["replay"]], ids=" ".join)
def test_commands_find_the_failures_of_the_cache(tmp_path: Path, command: list[str]) -> None:
    file = bundles.keep(failure(), tmp_path)
    shown = CliRunner().invoke(app, command, env={"COLUMNS": "200", "PYTEST_MME_CACHE": str(tmp_path)}).output
    assert (file.stem if command == ["bundle", "--list"] else "test_it.py::test_it") in shown


def failure(**settings: str) -> Bundle:
    return Bundle(test="test_it.py::test_it", failure="no", settings=settings, made=[], models={}, timeline=Timeline())


def test_a_failure_is_repeated_with_its_seed_and_its_way_of_limiting_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, seen = bundles.keep(failure(seed="7", enforcement="sampled", keep="always"), tmp_path), list[Settings]()

    def noting(_: Bundle, run: Run) -> tuple[Timeline, list[str]]:
        seen.append(run.settings)
        return Timeline(), []

    monkeypatch.setattr(replay_command, "rerun", noting)
    CliRunner().invoke(app, ["replay", str(file), "--run"], env={"COLUMNS": "200"})
    (settings,) = seen
    assert (settings.seed.value, settings.enforcement.value, settings.keep.value) == (7, "sampled", "never")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((), r"^mme: runtime local, tensorflow 2\.\S+, on the CPU, memory limits by "),
        (("--mme-enforcement=sampled",), r"on the CPU, memory limits by sampling; enforcement=sampled"),
        (("--mme-device=gpu",), r"tensorflow 2\.\S+, on a GPU \("),
        (("--mme-runtime=docker", "--mme-image=mine:1"), r"^mme: runtime docker, image mine:1, on the CPU"),
        (("--mme-runtime=docker", "--mme-device=gpu"), r"image pytest-mme-server:2\.\S+, on a GPU \("),
        (("--mme-runtime=attach", "--mme-url=http://a:1"), r"^mme: runtime attach, the server at http://a:1, memory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_header_describes_what_was_set(pytester: pytest.Pytester, arguments: tuple[str, ...], shown: str) -> None:
    header = [line for line in pytester.runpytest_inprocess(*arguments).outlines if line.startswith("mme: runtime")]
    assert len(header) == 1
    assert re.search(shown, header[0])
