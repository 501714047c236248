"""What a type checker knows of the factories. Each `type: ignore` is an error that it must find; `test_typing.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from typing_extensions import assert_type

from pytest_mme import (
    Aws,
    Endpoint,
    EndpointFactory,
    Faults,
    FaultsFactory,
    HandlerFactory,
    Model,
    Run,
    Server,
    ServerFactory,
    Traffic,
    TrafficFactory,
    zipf,
)


def what_factories_return(
    mme_server: ServerFactory,
    mme_handler: HandlerFactory,
    mme_endpoint: EndpointFactory,
    mme_faults: FaultsFactory,
    mme_traffic: TrafficFactory,
    models: Sequence[Model],
) -> None:
    assert_type(mme_server(memory_mib=300, admission="none", env={"A": "1"}, code=Path("code")), Server)
    assert_type(mme_handler("handler.py", models, memory_mib=900), Server)
    endpoint = mme_endpoint(models, name="ranking", fits=2, eviction=lambda candidates: candidates[0].model, cpus=1)
    assert_type(endpoint, Endpoint)
    assert_type(mme_faults(endpoint), Faults)
    assert_type(mme_traffic(endpoint), Traffic)


def names_where_models_are_expected(endpoint: Endpoint, server: Server, faults: Faults, traffic: Traffic) -> None:
    endpoint.invoke("model-0", [1.0])
    endpoint.invoke(0, [1.0])  # type: ignore[arg-type]
    assert_type(endpoint.model("model-0"), Model)
    assert_type(server.load("model-0"), str)
    server.load(Path("model.tar.gz"))  # type: ignore[arg-type]
    faults.kill("model-0")
    faults.kill(["model-0"])  # type: ignore[arg-type]
    traffic.closed(zipf(["model-0", "model-1"]), requests=6)
    traffic.closed(zipf([1, 2]), requests=6)  # type: ignore[list-item]


def what_factories_of_longer_scopes_return(
    mme_server_class: ServerFactory,
    mme_handler_module: HandlerFactory,
    mme_endpoint_session: EndpointFactory,
    models: Sequence[Model],
) -> None:
    assert_type(mme_server_class(memory_mib=300), Server)
    assert_type(mme_handler_module("handler.py", models), Server)
    assert_type(mme_endpoint_session(models, name="ranking", fits=2), Endpoint)
    mme_endpoint_session(models, memory_mb=300)  # type: ignore[call-arg]


def misspelt_fields(
    mme_server: ServerFactory, mme_handler: HandlerFactory, mme_endpoint: EndpointFactory, models: Sequence[Model]
) -> None:
    mme_server(memory_mb=300)  # type: ignore[call-arg]
    mme_handler("handler.py", models, memory_mb=300)  # type: ignore[call-arg]
    mme_endpoint(models, memory_mb=300)  # type: ignore[call-arg]
    mme_endpoint(models, fit=2)  # type: ignore[call-arg]


def fields_of_wrong_types(mme_server: ServerFactory, mme_endpoint: EndpointFactory, models: Sequence[Model]) -> None:
    mme_server(memory_mib="300")  # type: ignore[arg-type]
    mme_server(admission="maybe")  # type: ignore[arg-type]
    mme_server(cpus=None, env={"A": 1})  # type: ignore[dict-item]
    mme_endpoint(models, ready_s="soon")  # type: ignore[arg-type]
    mme_endpoint(models, eviction=len)  # type: ignore[arg-type]
    mme_endpoint("model.tar.gz")  # type: ignore[arg-type]


def fields_of_another_factory(mme_server: ServerFactory, mme_handler: HandlerFactory, models: Sequence[Model]) -> None:
    mme_server(eviction="lru")  # type: ignore[call-arg]
    mme_server(fits=2)  # type: ignore[call-arg]
    mme_handler("handler.py", models, name="ranking")  # type: ignore[call-arg]


def a_run_without_pytest(run: Run, aws: Aws, models: Sequence[Model]) -> None:
    with run.server(name="first", memory_mib=300) as server:
        assert_type(server, Server)
    run.server(memory_mb=300)  # type: ignore[call-arg]
    run.handler("handler.py", models, memory_mb=300)  # type: ignore[call-arg]
    run.endpoint(models, aws=aws, fits=2, memory_mb=300)  # type: ignore[call-arg]
