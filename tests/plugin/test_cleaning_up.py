"""A run leaves nothing behind: not after signals, and after SIGKILL not when the next run has begun."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_mme.waiting import wait_for
from tests.processes import survivors

pytestmark = pytest.mark.slow

BLOCKING = """
    import json
    import threading
    from pathlib import Path

    def test_blocking(mme_endpoint, mme_models, request):
        model = mme_models.linear()
        endpoint = mme_endpoint([model], memory_mib=100)
        endpoint.invoke(model, [1.0])
        facts = dict(endpoint.running.facts, models=str(endpoint.running.models))
        name = getattr(request.config, "workerinput", {}).get("workerid", "main")
        draft = Path(f"{name}.tmp")
        draft.write_text(json.dumps(facts))
        draft.rename(f"{name}.json")
        threading.Event().wait()
"""

RunDirectories = Callable[[], list[Path]]


class Blocked:
    """A pytest that waits in the middle of a test, with a server running."""

    def __init__(self, process: subprocess.Popen[bytes], facts: list[dict[str, Any]]) -> None:
        self.process, self.facts = process, facts
        self.family = psutil.Process(process.pid).children(recursive=True)

    def wait(self) -> int:
        return self.process.wait(timeout=60)

    def survivors(self) -> list[psutil.Process]:
        return survivors(self.family, timeout_s=20)

    def cgroups(self) -> list[Path]:
        return [Path(facts["cgroup"]) for facts in self.facts if facts["cgroup"]]


@pytest.fixture
def block(inner: pytest.Pytester) -> Iterator[Callable[..., Blocked]]:
    """Start a pytest that waits in the middle of a test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> Blocked:
        inner.makepyfile(BLOCKING)
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=inner.path,
            env=dict(os.environ),
            preexec_fn=_reset_sigint,
        )
        started.append(process)

        def facts() -> list[dict[str, Any]] | None:
            return [json.loads(path.read_text()) for path in inner.path.glob("*.json")] or None

        seen = wait_for(facts, what="the test to block", timeout_s=60, gone=lambda: _exit_code(process))
        return Blocked(process, seen)

    yield start
    for process in started:
        process.kill()
        process.wait()


def _reset_sigint() -> None:
    """Reset SIGINT: a shell lets background processes ignore it, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _exit_code(process: subprocess.Popen[bytes]) -> str | None:
    code = process.poll()
    return None if code is None else f"pytest ended with {code}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("arguments", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_after_a_signal_nothing_is_left(
    block: Callable[..., Blocked], run_directories: RunDirectories, number: signal.Signals, arguments: tuple[str, ...]
) -> None:
    blocked = block(*arguments)
    assert run_directories()
    blocked.process.send_signal(number)
    assert blocked.wait() == pytest.ExitCode.INTERRUPTED
    assert blocked.survivors() == []
    assert run_directories() == []
    assert [path for path in blocked.cgroups() if path.exists()] == []


def test_no_signal_leaves_sigterm_alone(block: Callable[..., Blocked]) -> None:
    blocked = block("--mme-no-signal")
    blocked.process.terminate()
    assert blocked.wait() == -signal.SIGTERM
    assert blocked.survivors() == []  # their lifelines have closed


@pytest.mark.parametrize("arguments", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_after_sigkill_no_process_survives_and_the_next_run_sweeps(
    block: Callable[..., Blocked], inner: pytest.Pytester, run_directories: RunDirectories, arguments: tuple[str, ...]
) -> None:
    blocked = block(*arguments)
    for process in (psutil.Process(blocked.process.pid), *blocked.family):
        with contextlib.suppress(psutil.NoSuchProcess):  # its lifeline was quicker
            process.kill()
    blocked.wait()
    assert blocked.survivors() == []
    assert run_directories()
    inner.makepyfile("def test_next(mme_server): mme_server()")
    inner.runpytest_subprocess().assert_outcomes(passed=1)
    assert run_directories() == []
    assert [path for path in blocked.cgroups() if path.exists()] == []


def test_a_run_does_not_sweep_a_living_one(
    block: Callable[..., Blocked], inner: pytest.Pytester, run_directories: RunDirectories
) -> None:
    blocked = block()
    before = run_directories()
    inner.makepyfile("def test_next(mme_server): mme_server()")
    inner.runpytest_subprocess().assert_outcomes(passed=1)
    assert run_directories() == before
    assert all(process.is_running() for process in blocked.family)


@pytest.mark.parametrize(
    ("when", "kept"), [("never", False), ("failed", True), ("always", True)], ids=["never", "failed", "always"]
)
@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_keep_decides_whether_the_directory_of_a_failed_run_is_kept(
    inner: pytest.Pytester, run_directories: RunDirectories, when: str, kept: bool, arguments: tuple[str, ...]
) -> None:
    inner.makepyfile("def test_failing(mme_server): mme_server(); raise AssertionError")
    inner.runpytest_subprocess(f"--mme-keep={when}", *arguments).assert_outcomes(failed=1)
    assert [path.name.startswith("kept-") for path in run_directories()] == [True] * kept
    assert len(list((inner.path / "tmp").rglob("server.log"))) == kept


def test_keep_failed_keeps_nothing_of_a_run_that_passes(
    inner: pytest.Pytester, run_directories: RunDirectories
) -> None:
    inner.makepyfile("def test_passing(mme_server): mme_server()")
    inner.runpytest_subprocess("--mme-keep=failed").assert_outcomes(passed=1)
    assert run_directories() == []


def test_a_run_without_the_fixtures_makes_no_directory(inner: pytest.Pytester, run_directories: RunDirectories) -> None:
    inner.makepyfile("def test_passing(): pass")
    inner.runpytest_subprocess().assert_outcomes(passed=1)
    assert run_directories() == []
    assert list((inner.path / "tmp").glob("pytest-mme-*")) == []
