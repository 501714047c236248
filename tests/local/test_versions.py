"""Other TensorFlow versions than the installed one serve the kit's models."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_mme import Endpoint, Models, Server
from pytest_mme.errors import ContractError
from tests.lacking import needs_compiler

OTHERS = ("2.5.3", "2.12.1", "2.15.1")
"""The oldest that the binding runs, the first with the C API in a library of its own, and one in between."""

pytestmark = pytest.mark.versions
each_version = pytest.mark.mme(tf=OTHERS)


@each_version
def test_every_kind_of_model_predicts_on_every_version(
    mme_server: Callable[..., Server], mme_models: Models, mme_tf: str
) -> None:
    server = mme_server()
    assert server.running.facts["tensorflow"] == mme_tf
    linear = mme_models.linear(weights_mib=2, sleep_ms=1, busy_ms=1, allocate_mib=2, versions=(1, 2))
    counter, text = mme_models.counter(), mme_models.text()
    for model, x in ((linear, [1.0]), (text, "a")):
        server.load(model)
        assert server.invoke(model, x) == model.answer(x)
    server.load(counter)
    assert server.invoke(counter, [1.0], before=0) == counter.answer([1.0], before=0)


@pytest.mark.mme(tf=["2.12.1", "2.15.1"])
def test_a_keras_model_saved_by_the_installed_version_predicts_on_older_ones(
    mme_server: Callable[..., Server], mme_models: Models
) -> None:
    server, model = mme_server(), mme_models.keras()
    server.load(model)
    assert server.invoke(model, [2.0]) == model.answer([2.0])


def test_a_model_with_an_op_of_a_later_version_is_refused_with_its_name(
    mme_server: Callable[..., Server], mme_models: Models
) -> None:
    with pytest.raises(ContractError, match="Op type not registered 'DisableCopyOnRead'"):
        mme_server(tf="2.5.3").load(mme_models.keras())


@each_version
def test_fits_is_exact_on_every_version(mme_endpoint: Callable[..., Endpoint], mme_models: Models) -> None:
    fleet = mme_models.fleet(3, weights_mib=20)
    endpoint = mme_endpoint(fleet, fits=2)
    for model in fleet:
        assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    endpoint.check_evicted(fleet[0])
    endpoint.check_resident(*fleet[1:])


@needs_compiler
@each_version
def test_tensorflow_reports_that_memory_ran_out(mme_server: Callable[..., Server], mme_models: Models) -> None:
    server = mme_server(memory_mib=60, oom="tensorflow", admission="none")
    model = mme_models.linear(allocate_mib=100)
    server.load(model)
    with pytest.raises(ContractError, match="OOM when allocating tensor") as refused:
        server.invoke(model, [1.0])
    assert refused.value.status == 429


def test_servers_of_two_versions_run_at_once(mme_server: Callable[..., Server], mme_models: Models) -> None:
    model = mme_models.linear()
    servers = [mme_server(tf="2.12.1"), mme_server(tf="installed")]
    for server in servers:
        server.load(model)
    assert [server.invoke(model, [1.0]) for server in servers] == [model.answer([1.0])] * 2


@pytest.mark.parametrize("tf", ["2.4.4", "2", "", 2.15])
def test_a_bad_version_is_refused(mme_server: Callable[..., Server], tf: object) -> None:
    with pytest.raises(ValueError, match="tf="):
        mme_server(tf=tf)
