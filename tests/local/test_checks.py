"""The checks on real servers: passing on a good one, and failing on one with that very defect."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from pytest_mme import Endpoint, Faults, Model, Models, Server, Traffic, round_robin
from pytest_mme.archives.archive import extract
from pytest_mme.errors import ContractError, NoAnswerError
from pytest_mme.hosting import lifecycle
from pytest_mme.hosting.lifecycle import Action, Lifecycle, Load
from pytest_mme.hosting.lifecycle import Event as LifecycleEvent
from pytest_mme.waiting import wait_for
from tests.local.conftest import wait_until_asked, worker_of

Endpoints = Callable[..., Endpoint]
Servers = Callable[..., Server]
Traffics = Callable[[Server | Endpoint], Traffic]
FaultsOn = Callable[[Server | Endpoint], Faults]


ASK_THE_MODEL = """
import requests
def handler(data, context):
    return requests.post(context.rest_uri, data=data.read()).content, "application/json"
"""


def ask_in_turn(endpoint: Endpoint, models: list[Model]) -> None:
    for model in models:
        assert endpoint.invoke(model, [1.0]) == model.answer([1.0])


def ask_at_once(endpoint: Endpoint | Server, model: Model, times: int) -> None:
    with ThreadPoolExecutor(times) as pool:
        answers = [pool.submit(endpoint.invoke, model, [1.0]) for _ in range(times)]
        assert [answer.result() for answer in answers] == [model.answer([1.0])] * times


def test_an_endpoint_evicts_the_least_recently_used_model(mme_endpoint: Endpoints, mme_models: Models) -> None:
    a, b, c = mme_models.fleet(3, weights_mib=40)
    endpoint = mme_endpoint([a, b, c], fits=2)
    ask_in_turn(endpoint, [a, b, a, c])
    endpoint.check_lru()
    endpoint.check_capacity(2)
    endpoint.check_evictions(at_most=1)
    endpoint.check_no_thrash(hit_ratio=0.25)
    with pytest.raises(
        AssertionError, match=r"^1 of 1 eviction: .* model-1 went, and the one that was loaded first was"
    ):
        endpoint.check_fifo()
    with pytest.raises(AssertionError, match=r"^2 models were in memory at once, not 3"):
        endpoint.check_capacity(3)


def test_an_endpoint_with_another_policy_fails_check_lru(mme_endpoint: Endpoints, mme_models: Models) -> None:
    a, b, c = mme_models.fleet(3, weights_mib=40)
    endpoint = mme_endpoint([a, b, c], fits=2, eviction="fifo")
    ask_in_turn(endpoint, [a, b, a, c])
    endpoint.check_fifo()
    with pytest.raises(AssertionError, match=r"model-0 went, and the least recently used was model-1$"):
        endpoint.check_lru()


def test_an_endpoint_that_thrashes_fails_check_no_thrash(mme_endpoint: Endpoints, mme_models: Models) -> None:
    models = mme_models.fleet(3, weights_mib=40)
    endpoint = mme_endpoint(models, fits=2)
    ask_in_turn(endpoint, models * 3)
    with pytest.raises(AssertionError, match=r"^0% of 9 requests found their model in memory, and 50% must"):
        endpoint.check_no_thrash(hit_ratio=0.5)
    with pytest.raises(AssertionError, match=r"^7 evictions, and at most 2 may be: model-0 at "):
        endpoint.check_evictions(at_most=2)


def test_first_requests_that_come_together_load_once(mme_endpoint: Endpoints, mme_models: Models) -> None:
    model = mme_models.linear(sleep_ms=200)
    endpoint = mme_endpoint([model])
    ask_at_once(endpoint, model, 8)
    endpoint.check_loads_once(model)
    endpoint.check_concurrent(model, at_least=4)


def test_requests_one_after_the_other_are_not_concurrent(mme_endpoint: Endpoints, mme_models: Models) -> None:
    model = mme_models.linear()
    endpoint = mme_endpoint([model])
    ask_in_turn(endpoint, [model] * 3)
    with pytest.raises(AssertionError, match="at most 1 of 3 requests were worked on at once"):
        endpoint.check_concurrent()
    with pytest.raises(AssertionError, match=r"^model did not have two requests that waited for one load of it$"):
        endpoint.check_loads_once(model)


SLOW_HANDLER = """
import threading
def inference_handler(data, model_name):
    threading.Event().wait(0.1)
    return {"predictions": [1.0]}
"""


@pytest.mark.parametrize("at_once", [None, 1], ids=["many at once", "one at a time"])
def test_requests_in_a_handlers_queue_are_not_concurrent(
    mme_handler: Callable[..., Server], mme_models: Models, tmp_path: Path, at_once: int | None
) -> None:
    (tmp_path / "handler.py").write_text(SLOW_HANDLER)
    model = mme_models.linear()
    server = mme_handler(tmp_path / "handler.py", [model], handler_requests=at_once)
    with ThreadPoolExecutor(8) as pool:
        for asked in [pool.submit(server.invoke, model, [1.0]) for _ in range(8)]:
            asked.result()
    if at_once is None:
        server.check_concurrent(at_least=2)
        return
    with pytest.raises(AssertionError, match=r"^at most 1 of 8 requests were worked on at once"):
        server.check_concurrent(at_least=2)


# Recovery and isolation


def test_a_killed_model_recovers(mme_endpoint: Endpoints, mme_models: Models, mme_faults: FaultsOn) -> None:
    killed, other = mme_models.fleet(2)
    endpoint = mme_endpoint([killed, other])
    ask_in_turn(endpoint, [killed, other])
    mme_faults(endpoint).kill(killed)
    with contextlib.suppress(ClientError):  # a request that meets the dying process breaks with it
        endpoint.invoke(killed, [1.0])
    ask_in_turn(endpoint, [other, killed, other])
    endpoint.check_recovers(killed, within_s=30, signature="SIGKILL")
    endpoint.check_isolated(good=[other], bad=[killed])


def test_a_killed_model_that_takes_long_to_load_recovers_too_late(
    mme_endpoint: Endpoints, mme_models: Models, mme_faults: FaultsOn
) -> None:
    slow = mme_models.linear("slow", handler=f"import threading\nthreading.Event().wait(2)\n{ASK_THE_MODEL}")
    endpoint = mme_endpoint([slow])
    ask_in_turn(endpoint, [slow])
    mme_faults(endpoint).kill(slow)
    with contextlib.suppress(ClientError):  # a request that meets the dying process breaks with it
        endpoint.invoke(slow, [1.0])
    ask_in_turn(endpoint, [slow])
    endpoint.check_recovers(slow, within_s=60)
    with pytest.raises(AssertionError, match=r"^slow died at .* s and replied .* s later; 1 s are allowed$"):
        endpoint.check_recovers(slow, within_s=1)


def test_a_killed_model_does_not_recover_by_itself(
    mme_server: Servers, mme_models: Models, mme_faults: FaultsOn
) -> None:
    model, server = mme_models.linear(), mme_server()
    server.load(model)
    mme_faults(server).kill(model)
    load_fails(server, model)
    with pytest.raises(AssertionError, match=r"has not replied since: .*model 404 at "):
        server.check_recovers(model, within_s=30)


def load_fails(server: Server, model: Model) -> None:
    """Ask until the death is seen: the first request may break with the process."""
    for _ in range(2):
        with pytest.raises((ContractError, NoAnswerError)):
            server.invoke(model, [1.0])


def test_a_model_that_runs_out_of_memory_is_isolated(mme_endpoint: Endpoints, mme_models: Models) -> None:
    good, bad = mme_models.linear("good"), mme_models.linear("bad", allocate_mib=400)
    endpoint = mme_endpoint([good, bad], memory_mib=200)
    endpoint.invoke(good, [1.0])
    with pytest.raises(ClientError):
        endpoint.invoke(bad, [1.0])
    endpoint.invoke(good, [1.0])
    endpoint.check_isolated(good=[good], bad=[bad])
    with pytest.raises(AssertionError, match=r"^good did not fail"):
        endpoint.check_isolated(good=[bad], bad=[good])


def test_a_server_that_cannot_be_reached_is_not_isolated(
    mme_server: Servers, mme_models: Models, mme_faults: FaultsOn
) -> None:
    good, bad = mme_models.fleet(2)
    server = mme_server()
    for model in (good, bad):
        server.load(model)
    mme_faults(server).kill(bad)
    load_fails(server, bad)
    with mme_faults(server).cut(), pytest.raises(NoAnswerError):  # what its callers see of a container that is gone
        server.invoke(good, [1.0])
    with pytest.raises(AssertionError, match=r"^model-1 took others along: model-0 at .*: no answer"):
        server.check_isolated(good=[good], bad=[bad])


# Latency


def hog_with(small: Model, hog: Model, traffic: Traffic) -> None:
    """Ask the *small* one alone, and then while the *hog* has requests all the time."""
    traffic.closed(round_robin([small]), clients=10, requests=40)
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(traffic.closed, round_robin([hog]), clients=8, requests=16)
        while not busy.done():
            traffic.closed(round_robin([small]), clients=10, requests=10)
        busy.result()


def test_a_model_in_a_process_of_its_own_leaves_something_for_the_others(
    mme_server: Servers, mme_models: Models, mme_traffic: Traffics
) -> None:
    hog, small = mme_models.linear("hog", busy_ms=300), mme_models.linear("small", sleep_ms=5)
    server = mme_server()
    for model in (hog, small):
        server.load(model)
    hog_with(small, hog, mme_traffic(server))
    server.check_fair(hog=hog, max_ratio=20, percentiles=[50])


ONE_AT_A_TIME = """
import threading
TURN = threading.Lock()
def inference_handler(data, model_name):
    with TURN:
        threading.Event().wait(0.5 if model_name == "hog" else 0)
    return {"predictions": [1]}
"""


def test_a_handler_that_serves_one_request_at_a_time_is_not_fair(
    mme_handler: Callable[..., Server], mme_models: Models, mme_traffic: Traffics, tmp_path: Path
) -> None:
    hog, small = mme_models.linear("hog"), mme_models.linear("small")
    (tmp_path / "handler.py").write_text(ONE_AT_A_TIME)
    server = mme_handler(tmp_path / "handler.py", [hog, small])
    hog_with(small, hog, mme_traffic(server))
    with pytest.raises(AssertionError, match=r"^while hog had requests, p50 of \d+ requests to small was "):
        server.check_fair(hog=hog, max_ratio=3)


def threads_counted(server: Server) -> list[int]:
    return [event.detail["threads"] for event in server.timeline if event.kind == "sample"]


def test_more_models_have_more_threads_than_allowed(mme_server: Servers, mme_models: Models) -> None:
    """Five, and under load here and there one more (measured), so that three have more than two at their most."""
    hog, *small = mme_models.fleet(3)
    server = mme_server(memory_mib=500, cpus=1)
    server.load(hog)
    (alone,) = wait_for(lambda: threads_counted(server) or None, what="a sample", timeout_s=20)
    for model in small:
        server.load(model)
    for model in [*small * 10, hog, *small * 10]:
        server.invoke(model, [1.0])
    most = max(threads_counted(server))
    with pytest.raises(
        AssertionError, match=rf"^at .* s the 3 models of {server.name} had {most} threads; at most {2 * alone} may be$"
    ):
        server.check_fair(hog=hog, max_ratio=1000, max_threads=2 * alone)


TAKES_LONG_TO_LOAD = """
import threading
threading.Event().wait(1.5)
def handler(data, context):
    return "", ""
"""


@pytest.mark.parametrize("stalls", [False, True], ids=["sound", "frozen while others load"])
def test_loads_of_other_models_must_not_stall_requests(
    mme_server: Servers, mme_models: Models, mme_traffic: Traffics, mme_faults: FaultsOn, stalls: bool
) -> None:
    """Four clients ask without a pause, so that each of the three loads meets four requests at least."""
    steady = mme_models.linear("steady")
    others = [mme_models.linear(f"other-{number}", handler=TAKES_LONG_TO_LOAD) for number in range(3)]
    server = mme_server()
    server.load(steady)
    freezing = worker_of(server, steady) if stalls else None
    mme_traffic(server).closed(round_robin([steady]), clients=4, requests=40)
    with mme_faults(server).hogged(steady, clients=4):
        load_all(server, others, steady, freezing)
    if not stalls:
        server.check_no_stall(of=[steady], factor=10, percentiles=[50])
        return
    with pytest.raises(AssertionError, match=r"^while others had a load, p50 of \d+ requests to steady was "):
        server.check_no_stall(of=[steady], factor=10, percentiles=[50])


def load_all(server: Server, others: list[Model], steady: Model, freezing: psutil.Process | None) -> None:
    """Load the *others*; where it is *freezing* a process, that stands still meanwhile."""
    for other in others:
        if freezing is not None:
            freezing.suspend()
        server.load(other)
        if freezing is not None:
            freezing.resume()
        server.invoke(steady, [1.0])


# Memory, and requests under way


def test_memory_is_bounded_over_rounds_of_loads_and_unloads(mme_server: Servers, mme_models: Models) -> None:
    model, server = mme_models.linear(weights_mib=20), mme_server(memory_mib=200)
    for _ in range(4):
        server.load(model)
        server.invoke(model, [1.0])
        server.unload(model)
    server.check_memory_bounded(cycles=4)


def test_memory_that_rises_over_rounds_fails(mme_server: Servers, mme_models: Models) -> None:
    """A server that keeps what it should give back: here a model more with each round, of which the test knows nothing."""
    kept, server = mme_models.linear("kept", weights_mib=20), mme_server(memory_mib=400)
    extract(kept.archive, server.running.models / "kept")
    passing = mme_models.linear("passing")
    for number in range(6):
        server.client.load(f"kept-{number}", str(server.running.models / "kept")).expect("load")
        server.load(passing)
        server.unload(passing)
    with pytest.raises(
        AssertionError, match=r"^memory rises by [2-5]\d\.\d\d MiB a round .* over 6 rounds of passing;"
    ):
        server.check_memory_bounded(cycles=6)


def test_an_unload_drains_requests(mme_server: Servers, mme_models: Models) -> None:
    model, server = mme_models.linear(busy_ms=1000), mme_server()
    server.load(model)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.invoke, model, [1.0])
        wait_until_asked(server, model)
        server.unload(model)
        assert asked.result() == model.answer([1.0])
    server.check_drained()


def test_a_kill_in_the_middle_of_a_stop_loses_requests(
    mme_server: Servers, mme_models: Models, mme_faults: FaultsOn
) -> None:
    model, server = mme_models.linear(busy_ms=3000), mme_server()
    server.load(model)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.invoke, model, [1.0])
        wait_until_asked(server, model)
        with mme_faults(server).stopped(grace_s=0), pytest.raises((ContractError, NoAnswerError)):
            asked.result()
    with pytest.raises(AssertionError, match=r"^1 of 1 request under way were lost: model "):
        server.check_drained()


class LoadsTwice(Lifecycle):
    """A platform that asks the container twice for each load."""

    def step(self, event: LifecycleEvent) -> tuple[Action, ...]:
        actions = super().step(event)
        return (*actions, *(action for action in actions if isinstance(action, Load)))


def test_a_platform_that_loads_a_model_twice_does_not_load_once(
    mme_endpoint: Endpoints, mme_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "Lifecycle", LoadsTwice)
    model = mme_models.linear(weights_mib=20)
    endpoint = mme_endpoint([model])
    with ThreadPoolExecutor(4) as pool:  # the container refuses some: it is still loading when it is asked again
        for asked in [pool.submit(endpoint.invoke, model, [1.0]) for _ in range(4)]:
            asked.exception()
    with pytest.raises(AssertionError, match=r"^model: \d loads \(at .* s\) for \d requests that came together$"):
        endpoint.check_loads_once(model)


def test_an_endpoint_that_evicts_the_least_frequently_used_passes_check_lfu(
    mme_endpoint: Endpoints, mme_models: Models
) -> None:
    a, b, c = mme_models.fleet(3, weights_mib=40)
    right, wrong = (mme_endpoint([a, b, c], fits=2, eviction=policy) for policy in ("lfu", "fifo"))
    for endpoint in (right, wrong):
        ask_in_turn(endpoint, [a, a, b, c])
    right.check_lfu()
    with pytest.raises(AssertionError, match=r"model-0 went, and the least frequently used was model-1$"):
        wrong.check_lfu()


MIXED_UP = """
import json, os, pathlib
ANSWERS = json.loads(pathlib.Path(__file__).with_name("answers.json").read_text())
def inference_handler(data, model_name):
    return {"predictions": [ANSWERS[0]]}
"""


def test_a_handler_that_answers_for_the_wrong_model_fails_check_answers(
    mme_handler: Callable[..., Server], mme_models: Models, tmp_path: Path
) -> None:
    models = mme_models.fleet(2)
    answers = [{"identity": model.answer([1.0]).identity, "y": model.answer([1.0]).value} for model in models]
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    (tmp_path / "handler.py").write_text(MIXED_UP)
    server = mme_handler(tmp_path / "handler.py", models)
    for model in models:
        server.invoke(model, [1.0])
    with pytest.raises(AssertionError, match=r"1 of 2 predictions are wrong:\n.* model-1 answered .*that is model-0/1"):
        server.check_answers()


def test_an_evicted_model_is_not_resident_and_the_others_are(mme_endpoint: Endpoints, mme_models: Models) -> None:
    a, b, c = mme_models.fleet(3, weights_mib=40)
    endpoint = mme_endpoint([a, b, c], fits=2)
    ask_in_turn(endpoint, [a, b, c])
    endpoint.check_evicted(a)
    endpoint.check_resident(b, c)
    with pytest.raises(AssertionError, match=r"^model-1 was not evicted; evictions: model-0 at .* s for model-2$"):
        endpoint.check_evicted(b)
    with pytest.raises(AssertionError, match=r"^model-0 is not resident \(model-0: evict at .* s\)"):
        endpoint.check_resident(a)
