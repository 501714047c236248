"""What a failing test shows."""

from __future__ import annotations

import json
import textwrap
from xml.etree import ElementTree as ET

import pytest

from pytest_mme import Timeline

pytestmark = pytest.mark.slow

FAILING = """
    def test_failing(mme_endpoint, mme_models):
        a, b = mme_models.fleet(2)
        endpoint = mme_endpoint([a, b], name="ranking", memory_mib=200)
        endpoint.invoke(a, [1.0])
        endpoint.invoke(b, [1.0])
        endpoint.check_evicted(a)

    def test_passing(mme_server):
        mme_server()
"""


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_full_evidence_has_the_timeline_the_log_and_a_chart(inner: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    inner.makepyfile(FAILING)
    result = inner.runpytest_subprocess("--junitxml=report.xml", "--mme-evidence=full", *arguments)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *AssertionError: model-0 was not evicted; evictions: none was recorded",
            "*mme timeline*",
            "* s  hosting  download  model-0   ok *",
            "* s  hosting  load      model-0   ok *",
            "* s  test     invoke    model-0   ok *",
            "*mme server log of ranking*",
            "*mme memory of ranking*",
            "┌──*",
            "└──*",
            "at most * of 200.0 MiB, at * s; * MiB in the end",
        ]
    )
    assert result.stdout.str().count("mme timeline") == 1
    timeline = Timeline.from_jsonl(_property(inner, "mme_timeline"))
    assert [event.model for event in timeline if event.kind == "download"] == ["model-0", "model-1"]


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_short_evidence_begins_with_the_reason_and_ends_with_the_replay(
    inner: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    inner.makepyfile(FAILING)
    result = inner.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E   AssertionError: model-0 was not evicted; evictions: none was recorded",
            ">       endpoint.check_evicted(a)",
            "test_*.py:6: AssertionError",
            "*- mme timeline -*",
            " * s  load      model-1  ok * ms",
            " * s  invoke    model-1  ok * ms",
            " * s  the test has failed",
            "*- mme memory -*",
            "at most * of 200.0 MiB, at * s; * MiB in the end",
            "*- mme replay -*",
        ]
    )
    for noise in ("mme_endpoint = <function", "cuInit", "InitializeLog", "oneDNN custom operations", "server log"):
        assert noise not in result.stdout.str()


def test_no_evidence_leaves_the_reason(inner: pytest.Pytester) -> None:
    inner.makepyfile(FAILING)
    result = inner.runpytest_subprocess("--mme-evidence=none", "--junitxml=report.xml")
    result.stdout.fnmatch_lines(["E   AssertionError: model-0 was not evicted*", "test_*.py:6: AssertionError"])
    assert "- mme" not in result.stdout.str()
    timeline = Timeline.from_jsonl(_property(inner, "mme_timeline"))
    loaded = [event.model for event in timeline if (event.kind, event.source) == ("load", "server")]
    assert loaded == ["model-0", "model-1"]


HANDLER = """
    import os

    def input_handler(data, context):
        os.write(2, b"the price list is empty\\n")
        raise ValueError("no price")

    def output_handler(data, context):
        return data.content, "application/json"
"""


def test_what_a_model_prints_is_shown_and_tensorflows_greeting_is_not(inner: pytest.Pytester) -> None:
    (inner.path / "inference.py").write_text(textwrap.dedent(HANDLER))
    inner.makepyfile(
        """
        from pathlib import Path

        def test_failing(mme_server, mme_models):
            server, model = mme_server(), mme_models.linear("prices", handler=Path("inference.py"))
            server.load(model)
            server.invoke(model, [1.0])
        """
    )
    shown = inner.runpytest_subprocess().stdout
    shown.fnmatch_lines(["*mme server log of server-1*", "the price list is empty", "ValueError: no price"])
    for noise in ("pytest_mme/serving", "cuInit", '"event"'):
        assert noise not in shown.str()


@pytest.mark.parametrize("chosen", ["the environment", "a field"])
def test_who_sets_tensorflows_log_level_sees_its_log(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    if chosen == "the environment":
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    environment = {"TF_CPP_MIN_LOG_LEVEL": "0"} if chosen == "a field" else {}
    inner.makepyfile(
        f"""
        def test_failing(mme_server, mme_models):
            server = mme_server(env={environment})
            server.load(mme_models.linear())
            assert False
        """
    )
    inner.runpytest_subprocess().stdout.fnmatch_lines(["*mme server log*", "*cuInit*"])


def test_a_timeline_in_junits_xml_is_bounded_and_says_so(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        def test_failing(mme_timeline):
            for number in range(10_000):
                mme_timeline.record("mark", source="test", detail={"number": number})
            assert False
        """
    )
    inner.runpytest_subprocess("--junitxml=report.xml")
    found = _property(inner, "mme_timeline")
    assert 50_000 < len(found) < 64 * 1024
    assert json.loads(found.partition("\n")[0])["note"].startswith("cut: the last ")
    assert Timeline.from_jsonl(found)[-1].detail == {"number": 9_999}


def _property(inner: pytest.Pytester, name: str) -> str:
    tree = ET.parse(inner.path / "report.xml")
    (found,) = [one for one in tree.iter("property") if one.get("name") == name]
    return found.get("value") or ""


def test_a_fixture_that_fails_shows_its_evidence_too(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.fixture
        def warmed_up(mme_endpoint, mme_models):
            endpoint = mme_endpoint(mme_models.fleet(1), name="ranking")
            endpoint.check_resident("model-0")

        def test_failing(warmed_up):
            pass
        """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E   AssertionError: no load was recorded*", "*mme timeline*", " * s  start *"])


@pytest.mark.parametrize("test_fails", [False, True], ids=["alone", "after the test"])
def test_a_tear_down_that_fails_shows_the_evidence_once(inner: pytest.Pytester, test_fails: bool) -> None:
    inner.makepyfile(
        f"""
        import pytest

        @pytest.fixture
        def leaving(mme_server):
            mme_server(name="ranking").ping()
            yield
            raise OSError("my tear-down")

        def test_it(leaving):
            assert not {test_fails}
        """
    )
    result = inner.runpytest_subprocess("--junitxml=report.xml")
    result.assert_outcomes(passed=not test_fails, failed=test_fails, errors=1)
    for title in ("mme timeline", "mme replay"):
        assert result.stdout.str().count(f"- {title} -") == 1
    assert 'name="mme_timeline"' in (inner.path / "report.xml").read_text()


def test_a_log_that_is_gone_does_not_end_the_session(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import shutil

        def test_failing(mme_server):
            server = mme_server()
            shutil.rmtree(server.running.models.parent)
            assert False

        def test_passing():
            pass
        """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["it cannot be read any more: FileNotFoundError: *"])


def test_a_server_with_an_unknown_field_names_it(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        def test_failing(mme_server):
            mme_server(memory=1)
        """
    )
    result = inner.runpytest_subprocess()
    result.stdout.fnmatch_lines(["E *TypeError: unknown: memory; there are admission, code, cpus, *"])


def test_a_long_timeline_is_shown_by_its_end(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        def test_failing(mme_timeline):
            for number in range(1000):
                mme_timeline.record("mark", source="test", detail={"number": number})
            assert False
        """
    )
    result = inner.runpytest_subprocess("--mme-evidence=full")
    result.stdout.fnmatch_lines(["… 800 lines before", "*number=800", "*number=999"])
    result.stdout.no_fnmatch_line("*number=799")
