"""Servers and endpoints that live longer than a test: how long, what each test sees of them, and what it leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pytest_mme import Timeline

pytestmark = pytest.mark.slow

SCOPES = ("class", "module", "package", "session")
RunDirectories = Callable[[], list[Path]]

USING = """
import json
import os
from pathlib import Path

import psutil
import pytest

@pytest.fixture
def use(server_class, server_module, server_package, server_session, request):
    def use():
        pids = {
            "class": server_class.running.facts["pid"],
            "module": server_module.running.facts["pid"],
            "package": server_package.running.facts["pid"],
            "session": server_session.running.facts["pid"],
        }
        assert all(map(psutil.pid_exists, pids.values()))
        before = [pid for file in Path(os.environ["SEEN"]).iterdir() for pid in json.loads(file.read_text()).values()]
        assert not any(map(psutil.pid_exists, set(before) - set(pids.values())))
        name = request.node.nodeid.replace("/", "--").replace("::", "__")
        Path(os.environ["SEEN"], name).write_text(json.dumps(pids))
    return use

class TestFirst:
    def test_one(self, use):
        use()

    def test_two(self, use):
        use()

class TestSecond:
    def test_one(self, use):
        use()

def test_alone(use):
    use()
"""
SERVER = """
import pytest

@pytest.fixture(scope="{0}")
def server_{0}(mme_server_{0}):
    return mme_server_{0}()
"""
PARTS: dict[str, Callable[[str], str]] = {
    "class": lambda name: re.sub(r"__test_(one|two)$", "", name),
    "module": lambda name: name.partition("__")[0],
    "package": lambda name: name.partition("--")[0],
    "session": lambda _: "",
}
"""The part of a test's name in which all have one server, by its scope."""


@pytest.fixture
def seen(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which inner tests leave what they see; its path is in their environment, as SEEN."""
    folder = inner.path / "seen"
    folder.mkdir()
    monkeypatch.setenv("SEEN", str(folder))
    return folder


def properties(inner: pytest.Pytester, test: str) -> dict[str, str]:
    """The properties of a test in the JUnit report; of several of one name the last."""
    tree = ET.parse(inner.path / "report.xml")
    (case,) = [case for case in tree.iter("testcase") if case.get("name") == test]
    return {str(one.get("name")): str(one.get("value")) for one in case.iter("property")}


def test_a_server_lives_as_long_as_its_scope_and_no_longer(inner: pytest.Pytester, seen: Path) -> None:
    inner.makeconftest("".join(SERVER.format(scope) for scope in ("class", "module", "session")))
    for name, modules in (("first", "ab"), ("second", "c")):
        folder = inner.mkpydir(name)
        (folder / "conftest.py").write_text(SERVER.format("package"))  # pytest ends it with the package of the conftest
        for module in modules:
            (folder / f"test_{module}.py").write_text(USING)
    inner.runpytest_subprocess().assert_outcomes(passed=12)
    pids = {path.name: json.loads(path.read_text()) for path in seen.iterdir()}
    for scope, servers in {"class": 9, "module": 3, "package": 2, "session": 1}.items():
        groups: dict[str, set[int]] = {}
        for name, its in pids.items():
            groups.setdefault(PARTS[scope](name), set()).add(its[scope])
        assert [len(group) for group in groups.values()] == [1] * servers, scope
        assert len({its[scope] for its in pids.values()}) == servers, scope


def test_a_server_is_gone_when_its_scope_has_ended(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import psutil
        import pytest

        pids = []

        class TestFirst:
            def test_it(self, mme_server_class, mme_endpoint_class, mme_models):
                pids.append(mme_server_class().running.facts["pid"])
                pids.append(mme_endpoint_class(mme_models.fleet(1)).running.facts["pid"])
                assert all(map(psutil.pid_exists, pids))

            def test_they_live_on(self):
                assert len(pids) == 2
                assert all(map(psutil.pid_exists, pids))

        def test_afterwards():
            assert len(pids) == 2
            assert not any(map(psutil.pid_exists, pids))
        """
    )
    inner.runpytest_subprocess().assert_outcomes(passed=3)


@pytest.mark.parametrize("scope", SCOPES)
def test_endpoints_handlers_traffic_and_faults_work_in_each_scope(inner: pytest.Pytester, scope: str) -> None:
    inner.makepyfile(
        handler="""
        def inference_handler(data, model_name):
            return {"predictions": data["instances"]}
        """,
        test_it=f"""
        import pytest
        from pytest_mme import round_robin

        @pytest.fixture(scope="{scope}")
        def endpoint(mme_endpoint_{scope}, mme_models, mme_traffic, mme_faults):
            endpoint = mme_endpoint_{scope}(mme_models.fleet(2), name="ranking")
            with mme_faults(endpoint).slowed(latency_s=0.001):
                mme_traffic(endpoint).closed(round_robin(["model-0", "model-1"]), clients=1, requests=4)
            return endpoint

        @pytest.fixture(scope="{scope}")
        def handler(mme_handler_{scope}, mme_models):
            return mme_handler_{scope}("handler.py", mme_models.fleet(1))

        class TestIt:
            def test_one(self, endpoint, handler):
                assert len([event for event in endpoint.timeline if event.kind == "invoke"]) == 8  # caller and server
                assert handler.invoke("model-0", [3.0]) == [3.0]

            def test_two(self, endpoint, handler, mme_aws_{scope}, mme_aws):
                assert mme_aws is mme_aws_{scope}
                assert [event.kind for event in endpoint.timeline] == ["load", "load"]
                assert endpoint.invoke("model-0", [1.0]) == endpoint.models["model-0"].answer([1.0])
                assert handler.invoke("model-0", [4.0]) == [4.0]
        """,
    )
    inner.runpytest_subprocess().assert_outcomes(passed=2)


def test_a_fixture_for_a_test_in_a_longer_one_is_refused_and_pytest_names_both(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="module")
        def ranking(mme_endpoint):
            return mme_endpoint

        def test_it(ranking):
            pass
        """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*function scoped fixture mme_endpoint with a module scoped request*"])


def test_marks_of_the_module_are_defaults_and_those_of_a_test_are_not(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.mme(memory_mib=111)

        @pytest.mark.mme(memory_mib=222)
        def test_it(mme_server_module, mme_server):
            limits = [make().client.memory().json()["limit_bytes"] / 2**20 for make in (mme_server_module, mme_server)]
            assert limits == [111, 222]
        """
    )
    inner.runpytest_subprocess().assert_outcomes(passed=1)


def test_there_is_one_aws_at_a_time_and_the_environment_is_restored_with_the_last(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        test_a="""
        import os

        def test_an_own_endpoint_beside_the_shared_one(mme_endpoint, mme_endpoint_module, mme_models, mme_aws):
            models = mme_models.fleet(1)
            for make, name in ((mme_endpoint_module, "shared"), (mme_endpoint, "own")):
                endpoint = make(models, name=name)
                assert endpoint.invoke("model-0", [1.0]) == models[0].answer([1.0])
            assert len(mme_aws.s3.list_objects_v2(Bucket=mme_aws.bucket)["Contents"]) == 2
            names = [one["EndpointName"] for one in mme_aws.sagemaker.list_endpoints()["Endpoints"]]
            assert sorted(names) == ["own", "shared"]

        def test_the_own_one_is_gone_with_its_archive(mme_aws):
            (archive,) = mme_aws.s3.list_objects_v2(Bucket=mme_aws.bucket)["Contents"]
            assert archive["Key"] == "shared/model-0.tar.gz"
            (endpoint,) = mme_aws.sagemaker.list_endpoints()["Endpoints"]
            assert endpoint["EndpointName"] == "shared"

        def test_it_lasts_for_tests_that_do_not_use_it():
            assert os.environ["AWS_ACCESS_KEY_ID"] == "pytest-mme"
        """,
        test_b="""
        import os

        def test_another_module():
            assert "AWS_ACCESS_KEY_ID" not in os.environ
        """,
    )
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        inner.runpytest_subprocess().assert_outcomes(passed=4)


# What a test sees of it

SHARING = """
    import pytest

    @pytest.fixture(scope="module")
    def ranking(mme_endpoint_module, mme_models):
        return mme_endpoint_module(mme_models.fleet(3), name="ranking", memory_mib=400)

    def test_first(ranking):
        for name in ("model-0", "model-1"):
            ranking.invoke(name, [1.0])

    def test_failing(ranking):
        ranking.check_resident("model-0", "model-1")
        ranking.invoke("model-0", [2.0])
        ranking.check_evicted("model-1")

    def test_of_something_else():
        assert False, "something else"

    def test_last(ranking):
        ranking.invoke("model-2", [1.0])
"""


def test_the_evidence_of_a_test_is_its_own_slice(inner: pytest.Pytester) -> None:
    inner.makepyfile(SHARING)
    result = inner.runpytest_subprocess("--junitxml=report.xml", "--mme-evidence=full")
    result.assert_outcomes(passed=2, failed=2)
    timeline = Timeline.from_jsonl(properties(inner, "test_failing")["mme_timeline"])
    assert [(event.kind, event.model) for event in timeline if event.at_s == 0] == [
        ("load", "model-0"),
        ("load", "model-1"),
    ]
    asked = [event for event in timeline if event.kind == "invoke" and event.source == "test"]
    assert [event.detail["x"] for event in asked] == [[2.0]]
    assert 0 < asked[0].began_s < 5
    assert "mme_timeline" not in properties(inner, "test_of_something_else")
    shown = result.stdout.str()
    assert shown.count("- mme timeline -") == 1
    log = shown.partition("- mme server log of ranking -")[2].partition("- mme")[0]
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines] == ["invoke"]


def test_summaries_and_the_page_have_each_test_by_itself(inner: pytest.Pytester) -> None:
    inner.makepyfile(SHARING)
    result = inner.runpytest_subprocess("--junitxml=report.xml", "--mme-report=report.html")
    result.assert_outcomes(passed=2, failed=2)
    requests = {}
    for test in ("test_first", "test_failing", "test_last"):
        summary = json.loads(properties(inner, test)["mme_summary"])
        requests[test] = (summary["requests"], summary["hits"], len(summary["loads"]))
    assert requests == {"test_first": (2, 0, 2), "test_failing": (1, 1, 0), "test_last": (1, 0, 1)}
    assert "mme_summary" not in properties(inner, "test_of_something_else")
    page = (inner.path / "report.html").read_text()
    assert {name: name in page for name in ("test_first", "test_failing", "test_of_something_else")} == {
        "test_first": True,
        "test_failing": True,
        "test_of_something_else": False,
    }


def test_a_check_does_not_fail_for_what_another_test_did(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="module")
        def ranking(mme_endpoint_module, mme_models):
            return mme_endpoint_module([mme_models.counter("counter"), mme_models.linear("scores")])

        def test_a_wrong_answer(ranking):
            ranking.invoke("counter", [1.0], before=1000)
            with pytest.raises(AssertionError, match="1 of 1 predictions are wrong"):
                ranking.check_answers()

        def test_right_ones(ranking, mme_timeline):
            ranking.check_resident("counter")
            ranking.invoke("scores", [1.0])
            ranking.check_answers()
            with pytest.raises(AssertionError, match="1 prediction with"):
                ranking.check_answers(at_least=2)
            assert list(ranking.timeline) == list(mme_timeline)
        """
    )
    inner.runpytest_subprocess().assert_outcomes(passed=2)
