"""A shared server that a test has left broken is renewed in a container; one that runs already only where it can be."""

from __future__ import annotations

import pytest

from pytest_mme import Run, Settings

SHARED = """
    import pytest

    from pytest_mme.waiting import wait_for

    @pytest.fixture(scope="module")
    def ranking(mme_endpoint_module, mme_models):
        return mme_endpoint_module(mme_models.fleet(2), name="ranking")

    @pytest.fixture(scope="module")
    def server(mme_server_module, mme_models):
        server = mme_server_module(name="plain")
        server.load(mme_models.linear("scores"))
        return server

    def it_works(target, name):
        assert target.invoke(name, [1.0]) == target.models[name].answer([1.0])
        target.check_resident(name)
        target.check_answers()
        assert [event.detail["x"] for event in target.timeline if "x" in event.detail] == [[1.0]]
"""
BROKEN_CONTAINERS = """
    def test_killing(ranking, mme_faults):
        it_works(ranking, "model-0")
        mme_faults(ranking).kill("model-0")

    def test_after_killing(ranking):
        it_works(ranking, "model-0")
        assert ranking.log.count('"event": "invoke"') == 1

    def test_ending(server):
        server.running._container.kill()
        wait_for(server.running.gone, what="the end of the container", timeout_s=30)

    def test_after_ending(server):
        it_works(server, "scores")
"""
BROKEN_NETWORK = """
    kept = []

    def test_cutting(server, mme_faults):
        kept.append(mme_faults(server).cut())
        kept[0].__enter__()

    def test_after_cutting(server):
        it_works(server, "scores")
        assert [event.kind for event in server.timeline if event.kind in ("load", "restart")] == ["load"]
"""


@pytest.fixture(autouse=True)
def shared_cache(monkeypatch: pytest.MonkeyPatch, mme_settings: Settings) -> None:
    """Runs inside this one build no model twice."""
    monkeypatch.setenv("PYTEST_MME_CACHE", str(mme_settings.cache.value))


def left_behind(result: pytest.RunResult) -> list[str]:
    found = [line.partition("LeftBehindWarning: ")[2] for line in result.stdout.lines]
    return [line.partition(" behind with ")[2].partition(": it is renewed")[0] for line in found if line]


@pytest.mark.slow
def test_a_container_is_started_again(pytester: pytest.Pytester, server_image: str) -> None:
    pytester.makepyfile(SHARED + BROKEN_CONTAINERS)
    result = pytester.runpytest_subprocess("--mme-runtime=docker", f"--mme-image={server_image}")
    assert result.parseoutcomes()["passed"] == 4
    assert left_behind(result) == [
        "the process of model-0 dead",
        "a server that does not run (the container ended with code 137), the process of scores dead",
    ]


@pytest.mark.slow
def test_an_attached_server_is_mended_as_far_as_it_goes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SHARED + BROKEN_NETWORK)
    with Run() as run, run.server() as server:
        result = pytester.runpytest_subprocess("--mme-runtime=attach", f"--mme-url={server.client.url}")
    assert result.parseoutcomes()["passed"] == 2
    assert left_behind(result) == ["the fault cut in effect"]
