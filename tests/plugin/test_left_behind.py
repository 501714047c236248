"""A test that leaves a shared server in a state that others cannot use is told, and the next test gets it renewed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import psutil
import pytest

from pytest_mme.serving.memory import cgroups
from tests.lacking import lacking
from tests.processes import survivors

pytestmark = pytest.mark.slow

RunDirectories = Callable[[], list[Path]]
SHARED = """
    import os
    import signal
    from pathlib import Path

    import pytest
    from botocore.exceptions import ClientError

    from pytest_mme import Model
    from pytest_mme.serving.memory import cgroups

    @pytest.fixture(scope="module")
    def ranking(mme_endpoint_module, mme_models):
        return mme_endpoint_module(mme_models.fleet(2), name="ranking", memory_mib=300)

    @pytest.fixture(scope="module")
    def server(mme_server_module, mme_models):
        server = mme_server_module(name="plain", memory_mib=300)
        for model in mme_models.fleet(2):
            server.load(model)
        return server

    def it_works(ranking, server):
        for target in (ranking, server):
            for name in ("model-0", "model-1"):
                assert target.invoke(name, [1.0]) == target.models[name].answer([1.0])
            target.check_answers(at_least=2)
            target.check_resident("model-0", "model-1")
            assert target.in_effect == []
"""


def warned(result: pytest.RunResult) -> list[str]:
    return [line.strip() for line in result.stdout.lines if "LeftBehindWarning: " in line]


@pytest.mark.parametrize(
    ("broken", "left"),
    [
        ('mme_faults(target).kill("model-0")', "the process of model-0 dead"),
        ('kept.append(mme_faults(target).paused("model-0")); kept[-1].__enter__()', "the fault paused in effect"),
        ("kept.append(mme_faults(target).cut()); kept[-1].__enter__()", "the fault cut in effect"),
        (
            'os.kill(target.running.facts["pid"], signal.SIGKILL)',
            "a server that does not run (the server's process ended with code -9)",
        ),
    ],
    ids=["killed model", "paused model", "cut network", "dead server"],
)
def test_what_a_test_has_broken_is_told_and_renewed(inner: pytest.Pytester, broken: str, left: str) -> None:
    inner.makepyfile(
        SHARED
        + f"""
    kept = []

    def test_before(ranking, server):
        it_works(ranking, server)

    def test_breaking(ranking, server, mme_faults):
        for target in (ranking, server):
            {broken}

    def test_after(ranking, server):
        assert [event.model for event in ranking.timeline] == []  # its platform loads models when they are asked for
        server.check_resident("model-0", "model-1")
        it_works(ranking, server)

    def test_last(ranking, server):
        it_works(ranking, server)
    """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(passed=4, warnings=2)
    assert [line.partition("Warning: ")[2] for line in warned(result)] == [
        f"{inner.path.name}.py::test_breaking left {name} ({fixture}_module) behind with {left}: it is renewed before "
        f"the next test; give a test that breaks a server one of its own, from {fixture}".replace(
            inner.path.name, next(inner.path.glob("test_*.py")).stem
        )
        for name, fixture in (("ranking", "mme_endpoint"), ("plain", "mme_server"))
    ]


@pytest.mark.parametrize(
    ("name", "left"),
    [("SIGKILL", "the server's process ended with code -9"), ("SIGSTOP", "it does not reply to a ping")],
)
def test_a_server_that_has_not_ended_yet_does_not_count_as_running(
    inner: pytest.Pytester, name: str, left: str
) -> None:
    """Its end may be seen a moment after the signal, here at the second look."""
    inner.makepyfile(
        SHARED
        + f"""
    def test_breaking(server):
        gone, looks = server.running.gone, [None]
        server.running.gone = lambda: looks.pop() if looks else gone()
        os.kill(server.running.facts["pid"], signal.{name})

    def test_after(ranking, server):
        it_works(ranking, server)
    """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(passed=2, warnings=1)
    assert f"behind with a server that does not run ({left})" in warned(result)[0]


def test_squeezed_memory_is_given_back(inner: pytest.Pytester) -> None:
    if not _may_limit_memory():
        lacking("no memory cgroup may be made here")
    inner.makepyfile(
        SHARED
        + """
    kept = []

    def test_squeezing(server, mme_faults):
        kept.append(mme_faults(server).squeezed(leave_mib=4))
        assert kept[0].__enter__() < 300

    def test_after(server):
        assert cgroups.at(Path(server.running.facts["cgroup"])).limit_bytes() == 300 * 2**20
        server.check_resident("model-0", "model-1")
    """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(passed=2, warnings=1)
    assert "the fault squeezed in effect" in warned(result)[0]


def _may_limit_memory() -> bool:
    try:
        cgroup = cgroups.create(f"pytest-mme-test-{os.getpid()}")
    except OSError:
        return False
    cgroups.remove(cgroup.directory)
    return True


def test_what_has_come_back_is_not_left_behind(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        SHARED
        + """
    def test_breaking_and_mending(ranking, server, mme_faults):
        it_works(ranking, server)
        for target in (ranking, server):
            mme_faults(target).kill("model-0")
            with mme_faults(target).paused("model-1"):
                pass
        server.load("model-0")
        with mme_faults(ranking).ping_failing():
            pass
        while True:
            try:
                ranking.invoke("model-0", [1.0])
                break
            except ClientError:  # the request that arrives at the moment of death
                pass

    def test_after(ranking, server):
        ranking.check_resident("model-0", "model-1")
        assert not any(event.kind == "restart" for event in ranking.recording)
    """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(passed=2)
    assert warned(result) == []


def test_a_fault_of_a_fixture_of_a_longer_scope_is_to_stay(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        SHARED
        + """
    @pytest.fixture(scope="module")
    def slow(ranking, mme_faults):
        with mme_faults(ranking).slowed(latency_s=0.001):
            yield ranking

    def test_first(slow):
        slow.invoke("model-0", [1.0])

    def test_breaking(slow, mme_faults):
        mme_faults(slow).ping_failing().__enter__()

    def test_last(slow):
        slow.invoke("model-0", [1.0])
        assert [fault.name for fault in slow.in_effect] == ["slowed"]
    """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(passed=3, warnings=1)
    assert "::test_breaking left ranking (mme_endpoint_module) behind with the fault ping_failing" in warned(result)[0]


def test_where_warnings_are_errors_the_test_that_broke_it_has_the_error(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        SHARED
        + """
    def test_breaking(ranking, server, mme_faults):
        mme_faults(server).kill("model-0")

    def test_after(ranking, server):
        it_works(ranking, server)
    """
    )
    result = inner.runpytest_subprocess("-W", "error::pytest_mme.LeftBehindWarning")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_breaking*", "E *LeftBehindWarning: *left plain *"])


def test_nobody_is_warned_where_no_other_test_could_use_it(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        SHARED
        + """
    def test_breaking(server, mme_faults):
        mme_faults(server).kill("model-0")
    """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    assert warned(result) == []


def test_a_server_that_cannot_be_renewed_fails_the_next_test_and_says_who_left_it(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        SHARED
        + """
    def test_breaking(server, mme_faults):
        server.models["model-0"] = Model(name="model-0", archive=Path(__file__))  # which is no archive
        mme_faults(server).kill("model-0")

    def test_after(server):
        pass

    def test_last(server):
        pass
    """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=2, warnings=1)  # the others have left nothing
    assert "::test_breaking left plain (mme_server_module) behind" in warned(result)[0]
    result.stdout.fnmatch_lines(["*plain could not be renewed, which *::test_breaking left behind: *"] * 2)


def test_a_test_that_asks_for_it_while_it_runs_has_its_slice_too(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        SHARED
        + """
    def test_first(server):
        server.invoke("model-0", [1.0])

    def test_asking(request):
        server = request.getfixturevalue("server")
        server.check_resident("model-0")
        server.invoke("model-1", [2.0])
        server.check_evicted("model-0")

    def test_of_something_else():
        assert False
    """
    )
    result = inner.runpytest_subprocess("--junitxml=report.xml", "--mme-evidence=full")
    result.assert_outcomes(passed=1, failed=2)
    cases = {case.get("name"): case for case in ET.parse(inner.path / "report.xml").iter("testcase")}

    def of(test: str) -> dict[Any, Any]:
        return {one.get("name"): one.get("value") for one in cases[test].iter("property")}

    assert json.loads(of("test_asking")["mme_summary"])["requests"] == 1
    assert of("test_of_something_else") == {}
    result.stdout.fnmatch_lines(["*in_memory=before this test*"])
    assert "E *something" not in result.stdout.str()


def test_each_worker_of_xdist_has_its_own(inner: pytest.Pytester, run_directories: RunDirectories) -> None:
    inner.makepyfile(
        """
        import os
        from pathlib import Path

        import pytest

        @pytest.fixture(scope="session")
        def ranking(mme_endpoint_session, mme_models):
            return mme_endpoint_session(mme_models.fleet(1), name="ranking")

        @pytest.mark.parametrize("number", range(6))
        def test_it(ranking, number):
            assert ranking.invoke("model-0", [1.0]) == ranking.models["model-0"].answer([1.0])
            worker, pid = os.environ["PYTEST_XDIST_WORKER"], ranking.running.facts["pid"]
            Path(f"{worker}-{number}.pid").write_text(str(pid))
        """
    )
    inner.runpytest_subprocess("-n", "2").assert_outcomes(passed=6)
    pids = {file.name: int(file.read_text()) for file in inner.path.glob("*.pid")}
    assert len(pids) == 6
    for worker in ("gw0", "gw1"):
        assert len({pid for name, pid in pids.items() if name.startswith(worker)}) == 1
    assert len(set(pids.values())) == 2
    assert not any(map(psutil.pid_exists, pids.values()))
    assert run_directories() == []


ENDING = """
    import json
    from pathlib import Path

    import psutil
    import pytest

    @pytest.fixture(scope="session")
    def in_session(mme_endpoint_session, mme_models):
        return mme_endpoint_session(mme_models.fleet(1))

    @pytest.fixture(scope="module")
    def ranking(in_session, mme_endpoint_module, mme_models):
        endpoint = mme_endpoint_module(mme_models.fleet(1))
        for target in (in_session, endpoint):
            target.invoke("model-0", [1.0])
        family = psutil.Process().children(recursive=True)
        Path("family.json").write_text(json.dumps([process.pid for process in family]))
        WHEN

    def test_one(ranking):
        THEN

    def test_two(ranking):
        pass
"""


@pytest.mark.parametrize(
    ("when", "then", "arguments", "code"),
    [
        ("return endpoint", "assert False", ("-x",), pytest.ExitCode.TESTS_FAILED),
        ("raise OSError", "pass", ("-x",), pytest.ExitCode.TESTS_FAILED),
        ("return endpoint", "raise KeyboardInterrupt", (), pytest.ExitCode.INTERRUPTED),
        ("raise KeyboardInterrupt", "pass", (), pytest.ExitCode.INTERRUPTED),
        ("yield endpoint; raise OSError", "pass", (), pytest.ExitCode.TESTS_FAILED),
    ],
    ids=["-x", "a failing fixture", "Ctrl-C in a test", "Ctrl-C in a fixture", "a failing tear-down"],
)
def test_nothing_is_left(
    inner: pytest.Pytester,
    run_directories: RunDirectories,
    when: str,
    then: str,
    arguments: tuple[str, ...],
    code: pytest.ExitCode,
) -> None:
    inner.makepyfile(ENDING.replace("WHEN", when).replace("THEN", then))
    result = inner.runpytest_subprocess(*arguments)
    assert result.ret == code
    pids = json.loads((inner.path / "family.json").read_text())
    assert len(pids) >= 2
    assert survivors([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout_s=20) == []
    assert run_directories() == []
