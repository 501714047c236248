"""A failed test is judged again and repeated from the command line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pytest_mme.kit import Run
from pytest_mme.models.builder import Models
from pytest_mme.replay.bundle import Bundle
from pytest_mme.replay.run_again import rerun
from pytest_mme.settings import Settings
from pytest_mme.timeline.events import Event, Timeline
from tests.lacking import needs_cgroup

pytestmark = pytest.mark.slow

FAILING = """
    def test_failing(mme_endpoint, mme_server, mme_models, mme_faults):
        models = mme_models.fleet(3, weights_mib=30)
        endpoint = mme_endpoint(models, name="ranking", fits=2)
        for model in (*models, models[0]):
            endpoint.invoke(model, [1.0])
        with mme_faults(endpoint).slowed(latency_s=0.01):
            endpoint.invoke(models[0], [1.0])
        endpoint.check_lru()
        server = mme_server()
        server.load(models[0])
        server.invoke(models[0], [2.0])
        server.check_answers()
        endpoint.check_capacity(3)
"""


def command(folder: Path, *arguments: str, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", **({"PYTEST_MME_CACHE": str(cache)} if cache else {})}
    order = [sys.executable, "-m", "pytest_mme.cli", *arguments]
    return subprocess.run(order, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_failure_is_judged_and_repeated_from_one_file(
    inner: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_MME_CACHE", str(tmp_path / "cache"))
    inner.makepyfile(FAILING)
    result = inner.runpytest_subprocess("-n", "1")
    result.assert_outcomes(failed=1)
    shown = re.search(r"^pytest-mme bundle (test_failing-\w+) ", result.stdout.str(), re.MULTILINE)
    assert shown is not None
    assert shown[1] in command(inner.path, "bundle", "--list").stdout

    packed = command(inner.path, "bundle", shown[1], "--output", "failure.zip")
    assert packed.stdout.splitlines()[1] == "pytest-mme replay failure.zip"
    judged = command(inner.path, "replay", "failure.zip", cache=tmp_path / "empty")
    assert judged.returncode == 1
    assert re.search(r"ranking.check_lru\(\) +passed +passed", judged.stdout)
    assert re.search(r"server-1.check_answers\(\) +passed +passed", judged.stdout)
    assert re.search(r"ranking.check_capacity\(3\) +2 models .* not 3.* +2 models .* not 3", judged.stdout)
    again = command(inner.path, "replay", "failure.zip", "--run", cache=tmp_path / "empty")
    assert again.returncode == 1, again.stderr
    assert re.search(r"ranking.check_lru\(\) +passed +passed", again.stdout)
    assert re.search(r"server-1.check_answers\(\) +passed +passed", again.stdout)
    assert re.search(r"ranking.check_capacity\(3\) +2 models .* not 3.* +2 models .* not 3", again.stdout)


def test_a_test_without_checks_shows_what_happened(
    inner: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_MME_CACHE", str(tmp_path / "cache"))
    inner.makepyfile("""
        def test_failing(mme_server, mme_models, mme_faults):
            server, model = mme_server(), mme_models.linear()
            server.load(model)
            faults = mme_faults(server)
            with faults.hogged(model, clients=1), faults.stopped(grace_s=1):
                assert server.invoke(model, [1.0]) == 0
    """)
    inner.runpytest_subprocess().assert_outcomes(failed=1)
    then = command(inner.path, "replay")
    assert then.returncode == 1
    assert "nothing to judge; what happened:" in then.stdout
    again = command(inner.path, "replay", "--run")
    assert again.returncode == 1, again.stderr
    assert "left out" not in again.stdout
    for shown in (then.stdout, again.stdout):
        assert re.search(r" s +client +load +model +ok ", shown)
        assert re.search(r" s +test +fault +- +stopped .* grace_s=1$", shown, re.MULTILINE)


@needs_cgroup
def test_memory_is_squeezed_again(inner: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_MME_CACHE", str(tmp_path / "cache"))
    inner.makepyfile("""
        def test_failing(mme_server, mme_models, mme_faults):
            server, model = mme_server(), mme_models.linear()
            server.load(model)
            with mme_faults(server).squeezed(leave_mib=64):
                assert server.invoke(model, [1.0]) == 0
    """)
    inner.runpytest_subprocess().assert_outcomes(failed=1)
    for shown in (command(inner.path, "replay").stdout, command(inner.path, "replay", "--run").stdout):
        assert len(re.findall(r" s +test +fault +- +squeezed .*leave_mib=64", shown)) == 1


def test_a_bundle_contains_the_users_code(
    inner: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_MME_CACHE", str(tmp_path / "cache"))
    handler = inner.makepyfile(hosted="def inference_handler(data, model_name): return {'predictions': [7]}")
    code = inner.mkdir("code")
    (code / "inference.py").write_text(
        "def handler(data, context): return '{\"predictions\": [8]}', 'application/json'"
    )
    inner.makepyfile("""
        import boto3

        def test_failing(mme_endpoint, mme_handler, mme_models):
            model = mme_models.linear("a")
            endpoint, hosted = mme_endpoint([model], name="ranking", code="code"), mme_handler("hosted.py", [model])
            assert (endpoint.invoke(model, [1.0]), hosted.invoke(model, [1.0])) == (8, 7)
            asked = {"EndpointName": "ranking", "TargetModel": "a.tar.gz", "Body": b"{}"}
            boto3.client("sagemaker-runtime").invoke_endpoint(**asked)
            hosted.check_concurrent(at_least=2)
    """)
    inner.runpytest_subprocess().assert_outcomes(failed=1)
    assert command(inner.path, "bundle", "--output", "failure.zip").returncode == 0
    shutil.rmtree(code)
    handler.unlink()
    gone = command(inner.path, "replay", "--run")
    assert gone.returncode == 1
    assert "give back what it names" in gone.stdout
    again = command(inner.path, "replay", "failure.zip", "--run", cache=tmp_path / "empty")
    assert again.returncode == 1, again.stderr
    assert re.findall("left out: (.*)", again.stdout) == ["a request of another boto3 client to a"]
    assert re.search(r"handler-1.check_concurrent\(at_least=2\) +at most 1 .* +at most 1 ", again.stdout)


RACY = """
import json
import time

current = None

def input_handler(data, context):
    global current
    current = json.loads(data.read())
    time.sleep(0.02)  # other requests come meanwhile
    return json.dumps(current)

def output_handler(response, context):
    return response.content, "application/json"
"""


def test_wrong_answers_of_a_users_model_are_wrong_again(
    inner: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mme_models: Models
) -> None:
    monkeypatch.setenv("PYTEST_MME_CACHE", str(tmp_path / "cache"))
    shutil.copy(mme_models.linear("racy", handler=RACY).archive, inner.path / "own.tar.gz")
    inner.makepyfile("""
        from pytest_mme import round_robin

        INPUTS = [[1.0], [2.0], [3.0]]

        def test_failing(mme_server, mme_models, mme_traffic):
            asked = mme_models.archive("own.tar.gz", answers="recorded", inputs=INPUTS)
            function = mme_models.archive("own.tar.gz", answers=lambda x: asked.answer(x).value, inputs=INPUTS)
            for model in (asked, function):
                server = mme_server()
                server.load(model)
                mme_traffic(server).closed(round_robin([model]), clients=6, requests=40)
                server.check_answers(at_least=40, soft=True)
    """)
    inner.runpytest_subprocess().assert_outcomes(failed=1)
    assert command(inner.path, "bundle", "--output", "failure.zip").returncode == 0
    (inner.path / "own.tar.gz").unlink()
    for arguments in ((), ("--run",)):
        again = command(inner.path, "replay", "failure.zip", *arguments, cache=tmp_path / "empty")
        assert again.returncode == 1, again.stderr
        found = re.findall(
            r"server-(\d).check_answers\(.*?\) +\d+ of 40 predictions .* \d+ of 40 predictions ", again.stdout
        )
        assert found == ["1", "2"], again.stdout
        assert "left out" not in again.stdout


def test_the_path_is_shown_where_the_commands_do_not_know_the_cache(inner: pytest.Pytester, tmp_path: Path) -> None:
    inner.makepyfile("def test_failing(mme_server): mme_server().check_evicted('a')")
    result = inner.runpytest_subprocess(f"--mme-cache={tmp_path}/cache")
    result.stdout.fnmatch_lines([f"pytest-mme replay {tmp_path}/cache/failures/test_failing-*.json *"])


def test_a_test_without_a_server_keeps_nothing(inner: pytest.Pytester) -> None:
    inner.makepyfile("def test_failing(mme_models): assert False")
    assert "mme replay" not in inner.runpytest_subprocess().stdout.str()


def test_without_a_failure_of_that_name_replay_exits_with_2(tmp_path: Path) -> None:
    nothing = command(tmp_path, "replay", cache=tmp_path / "cache")
    assert nothing.returncode == 2
    assert "no failure is kept" in " ".join(nothing.stderr.replace("│", "").split())
    (tmp_path / "other.zip").write_text("x")
    other = command(tmp_path, "replay", "other.zip", cache=tmp_path / "cache")
    assert other.returncode == 2
    unknown = command(tmp_path, "bundle", "test_unknown", cache=tmp_path / "cache")
    assert "no failure of that name" in " ".join(unknown.stderr.replace("│", "").split())


EVERY_FAULT = """
    import contextlib
    from botocore.exceptions import ClientError

    def test_failing(mme_endpoint, mme_models, mme_faults):
        model, other = mme_models.fleet(2)
        endpoint = mme_endpoint([model, other], name="ranking")
        endpoint.invoke(model, [1.0])
        faults = mme_faults(endpoint)
        with faults.slowed(model, latency_s=0.01), faults.s3_slow(latency_s=0.01), faults.ping_failing(status=503):
            endpoint.invoke(model, [1.0])
        with faults.s3_failing(status=404, code="NoSuchKey", times=1), contextlib.suppress(ClientError):
            endpoint.invoke(other, [1.0])
        with faults.cut(silently=False), faults.paused(model), faults.disk_full(), faults.s3_truncated():
            pass
        with faults.hogged(model, clients=1):
            endpoint.invoke(model, [1.0])
        faults.kill(model)
        with faults.stopped(grace_s=1):
            pass
        endpoint.check_evicted(model)
"""


def test_each_fault_is_made_again_by_its_method_and_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `pytester`, which would forget the modules that the second run imports here: moto would be loaded twice."""
    monkeypatch.setenv("PYTEST_MME_CACHE", str(tmp_path / "cache"))
    (tmp_path / "test_every_fault.py").write_text(textwrap.dedent(EVERY_FAULT))
    failing = subprocess.run([sys.executable, "-m", "pytest", tmp_path], cwd=tmp_path, capture_output=True, check=False)
    assert failing.returncode == pytest.ExitCode.TESTS_FAILED
    (file,) = (tmp_path / "cache" / "failures").glob("*.json")
    recorded = Bundle.from_json(file.read_text())
    with Run(Settings.resolve(environment=dict(os.environ))) as run:
        again, left_out = rerun(recorded, run)
    assert left_out == []
    then, now = ([one.detail.get("call") for one in faults_of(timeline)] for timeline in (recorded.timeline, again))
    without_a_call = {one.outcome for one in faults_of(recorded.timeline) if "call" not in one.detail}
    assert without_a_call == {"hogged"}
    assert sorted(map(str, now)) == sorted(str(call) for call in then if call is not None)
    assert {"method": "slowed", "arguments": [], "options": {"model": "model-0", "latency_s": 0.01}} in now


def faults_of(timeline: Timeline) -> list[Event]:
    return [event for event in timeline if event.kind == "fault"]


def test_a_test_on_a_shared_server_is_repeated_with_what_was_in_memory(
    inner: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_MME_CACHE", str(tmp_path / "cache"))
    inner.makepyfile("""
        import pytest

        @pytest.fixture(scope="module")
        def server(mme_server_module, mme_models):
            server = mme_server_module(name="plain")
            for model in mme_models.fleet(2):
                server.load(model)
            return server

        @pytest.fixture(scope="module")
        def ranking(mme_endpoint_module, mme_models):
            return mme_endpoint_module(mme_models.fleet(1), name="ranking")

        def test_first(server, ranking):
            server.invoke("model-0", [7.0])
            ranking.invoke("model-0", [7.0])

        def test_failing(server, ranking):
            server.check_resident("model-0", "model-1")
            server.invoke("model-1", [1.0])
            ranking.invoke("model-0", [1.0])
            server.check_answers(at_least=2)
    """)
    inner.runpytest_subprocess().assert_outcomes(passed=1, failed=1)
    (record,) = (tmp_path / "cache" / "failures").glob("*.json")
    again = command(inner.path, "replay", str(record), "--run")
    assert re.search(r"plain.check_resident\('model-0', 'model-1'\) +passed +passed", again.stdout), again.stdout
    assert re.search(r"plain.check_answers\(at_least=2\) +1 prediction with .* +1 prediction with", again.stdout)
    assert "model-0 in the memory of ranking before the test began" in again.stdout + again.stderr
    assert "7.0" not in record.read_text()
