"""The container contract itself, without AWS: what the platform asks of a server."""

import pytest

from pytest_mme.errors import ContractError


def test_an_unloaded_model_is_gone(mme_server, mme_models):
    model = mme_models.linear()
    server = mme_server()
    server.load(model)
    assert server.invoke(model, [1.0]) == model.answer([1.0])
    server.unload(model)
    assert server.list() == []
    assert server.client.get(server.identifier(model)).status == 404


def test_a_model_that_does_not_fit_is_refused(mme_server, mme_models):
    server = mme_server(memory_mib=200)
    with pytest.raises(ContractError, match="not enough memory") as refused:
        server.load(mme_models.linear(weights_mib=400))
    assert refused.value.status == 507
