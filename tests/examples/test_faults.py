"""Things done to a server on purpose, and undone: what does the endpoint make of it, and your client?"""

import contextlib

import pytest
from botocore.exceptions import ClientError

from pytest_mme.errors import ContractError, UnavailableError


def test_a_model_whose_process_was_killed_comes_back(mme_endpoint, mme_models, mme_faults):
    model = mme_models.linear()
    endpoint = mme_endpoint([model])
    endpoint.invoke(model, [1.0])
    mme_faults(endpoint).kill(model)
    with contextlib.suppress(ClientError):  # a request that meets the death itself fails
        endpoint.invoke(model, [1.0])
    assert endpoint.invoke(model, [1.0]) == model.answer([1.0])


def test_a_model_that_hangs_holds_up_no_other(mme_endpoint, mme_models, mme_faults):
    hanging, lively = mme_models.fleet(2)
    endpoint = mme_endpoint([hanging, lively], invoke_s=2)
    endpoint.invoke(hanging, [1.0])
    with mme_faults(endpoint).paused(hanging):
        with pytest.raises(ClientError, match="timed out"):
            endpoint.invoke(hanging, [1.0])
        assert endpoint.invoke(lively, [1.0]) == lively.answer([1.0])
    assert endpoint.invoke(hanging, [1.0]) == hanging.answer([1.0])


def test_a_slow_model_slows_no_other(mme_endpoint, mme_models, mme_faults):
    slow, quick = mme_models.fleet(2)
    endpoint = mme_endpoint([slow, quick], invoke_s=1)
    for model in (slow, quick):
        endpoint.invoke(model, [1.0])
    with mme_faults(endpoint).slowed(slow, latency_s=2):
        with pytest.raises(ClientError, match="timed out"):
            endpoint.invoke(slow, [1.0])
        assert endpoint.invoke(quick, [1.0]) == quick.answer([1.0])
    assert endpoint.invoke(slow, [1.0]) == slow.answer([1.0])


def test_who_asks_for_more_memory_than_there_is_goes_alone(mme_server, mme_models, mme_faults):
    greedy, modest = mme_models.linear("greedy", allocate_mib=200, sleep_ms=200), mme_models.linear("modest")
    server = mme_server(memory_mib=600)
    server.load(greedy)
    server.load(modest)
    with (
        contextlib.suppress(UnavailableError),  # where no memory cgroup may be made, nothing can be squeezed
        mme_faults(server).squeezed(leave_mib=50),
        pytest.raises(ContractError, match="lack of memory"),
    ):
        server.invoke(greedy, [1.0])
    assert server.invoke(modest, [1.0]) == modest.answer([1.0])


def test_a_stopped_server_is_asked_to_load_again(mme_endpoint, mme_models, mme_faults):
    model = mme_models.linear()
    endpoint = mme_endpoint([model])
    endpoint.invoke(model, [1.0])
    with (
        mme_faults(endpoint).stopped(grace_s=30) as took_s,
        pytest.raises(ClientError, match="could not get a response"),
    ):
        endpoint.invoke(model, [1.0])
    assert took_s < 30
    assert endpoint.invoke(model, [1.0]) == model.answer([1.0])


def test_a_slow_network_is_waited_for(mme_endpoint, mme_models, mme_faults):
    model = mme_models.linear()
    endpoint = mme_endpoint([model])
    with mme_faults(endpoint).slowed(latency_s=0.2):
        assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    (fault,) = [event for event in endpoint.timeline if event.kind == "fault"]
    assert fault.outcome == "slowed"
    assert fault.seconds > 0.8


def test_a_cut_network_is_no_answer(mme_endpoint, mme_models, mme_faults):
    model = mme_models.linear()
    endpoint = mme_endpoint([model], invoke_s=2)
    endpoint.invoke(model, [1.0])
    with mme_faults(endpoint).cut(), pytest.raises(ClientError, match="could not get a response"):
        endpoint.invoke(model, [1.0])
    with mme_faults(endpoint).cut(silently=True), pytest.raises(ClientError, match="timed out"):
        endpoint.invoke(model, [1.0])
    assert endpoint.invoke(model, [1.0]) == model.answer([1.0])


def test_a_model_that_ran_out_of_memory_is_back_and_no_other_went_along(mme_endpoint, mme_models, mme_faults):
    victim, other = mme_models.fleet(2)
    endpoint = mme_endpoint([victim, other], memory_mib=400)
    endpoint.invoke(victim, [1.0])
    with (
        contextlib.suppress(UnavailableError),  # where no memory cgroup may be made
        mme_faults(endpoint).out_of_memory(victim, at="predict"),
        pytest.raises(ClientError, match="lack of memory"),
    ):
        endpoint.invoke(victim, [1.0])
    assert endpoint.invoke(victim, [1.0]) == victim.answer([1.0])
    assert endpoint.invoke(other, [1.0]) == other.answer([1.0])


def test_a_greedy_model_keeps_the_others_waiting_but_not_forever(mme_endpoint, mme_models, mme_faults):
    greedy, modest = mme_models.linear("greedy", busy_ms=30), mme_models.linear("modest")
    endpoint = mme_endpoint([greedy, modest])
    for model in (greedy, *[modest] * 10):
        endpoint.invoke(model, [1.0])
    with mme_faults(endpoint).hogged(greedy):
        for _ in range(10):
            endpoint.invoke(modest, [1.0])
    asked = [event for event in endpoint.timeline if event.kind == "attempt" and event.model == "greedy"]
    assert len(asked) > 1


def test_clients_get_right_answers_or_errors_whatever_breaks(mme_endpoint, mme_models, mme_faults):
    models = mme_models.fleet(3)
    endpoint = mme_endpoint(models)
    with mme_faults(endpoint).chaos(*models, seconds=2, rate=4):
        for model in models * 20:
            with contextlib.suppress(ClientError):
                endpoint.invoke(model, [1.0])
    endpoint.check_answers()


def test_a_full_disk_concerns_new_models_only(mme_endpoint, mme_models, mme_faults):
    there, new = mme_models.fleet(2)
    endpoint = mme_endpoint([there, new])
    endpoint.invoke(there, [1.0])
    with mme_faults(endpoint).disk_full():
        assert endpoint.invoke(there, [1.0]) == there.answer([1.0])
        with pytest.raises(ClientError, match="no space left on device"):
            endpoint.invoke(new, [1.0])
    assert endpoint.invoke(new, [1.0]) == new.answer([1.0])
