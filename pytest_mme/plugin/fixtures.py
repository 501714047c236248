"""The fixtures: one short function for each, over the context managers of `Run`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_mme.plugin.evidence import evidence_of
from pytest_mme.plugin.options import SETTINGS
from pytest_mme.plugin.run import run_of
from pytest_mme.plugin.starting import Starting
from pytest_mme.settings import Settings

if TYPE_CHECKING:
    from pytest_mme.aws.clients import Aws
    from pytest_mme.factories import EndpointFactory, FaultsFactory, HandlerFactory, ServerFactory, TrafficFactory
    from pytest_mme.kit import Run
    from pytest_mme.models.builder import Models
    from pytest_mme.timeline.events import Timeline


@pytest.fixture(scope="session")
def mme_settings(pytestconfig: pytest.Config) -> Settings:
    """The kit's settings, each with its source: `mme_settings.keep.value`.

    Set by option, environment variable or ini file; `pytest --help` lists them.
    """
    return pytestconfig.stash[SETTINGS]


@pytest.fixture(scope="session")
def _mme_run(pytestconfig: pytest.Config) -> Run:
    """The run; the test is skipped on a system without what servers need."""
    if missing := _missing():
        pytest.skip(f"pytest-mme's servers need {missing}, which {sys.platform} does not have; it is tested on Linux")
    return run_of(pytestconfig)


def _missing() -> str | None:
    if not hasattr(os, "fork"):
        return "fork"
    try:
        import fcntl  # noqa: F401
    except ImportError:
        return "fcntl"
    return None


@pytest.fixture(scope="session")
def mme_models(_mme_run: Run) -> Models:
    """Builds tiny models with known predictions: `.linear()`, `.fleet(3, weights_mib=100)`, `.counter()`, `.archive(path)`.

    Each is built once and kept in the cache (`--mme-cache`), which xdist workers and runs share.
    """
    return _mme_run.models


@pytest.fixture(scope="session")
def mme_tf(_mme_run: Run, request: pytest.FixtureRequest) -> str | None:
    """The TensorFlow version that this run of the test serves with, as in `2.15.1`: `--mme-tf`, or the mark's `tf=[…]`.

    Without either it is the installed one, or else 2.21.0; None where a container or an attached server has its own.
    """
    return _mme_run.tensorflow(getattr(request, "param", None))


@pytest.fixture
def mme_timeline(request: pytest.FixtureRequest) -> Timeline:
    """The test's timeline: what happened to all its servers and endpoints, in order.

    Checks judge it: `check_evicted(mme_timeline, model)`.
    """
    return evidence_of(request.node).timeline


# Each fixture below exists for a test, and under a longer name for a class, a module, a package and the session.


def _server(_mme_run: Run, mme_tf: str | None, request: pytest.FixtureRequest) -> Iterator[ServerFactory]:
    """Starts servers that implement the container contract, without AWS: `mme_server(memory_mib=300)`.

    Its type is `ServerFactory`. Fields as in `ServerSpec` (docs/reference.md); `@pytest.mark.mme(…)` sets defaults for
    a test. All servers end with the test; those of `mme_server_module` end with the module, and so on.
    """
    with Starting(_mme_run, request) as starting:
        yield lambda **fields: starting.server(**{"tf": mme_tf} | fields)


def _handler(_mme_run: Run, request: pytest.FixtureRequest) -> Iterator[HandlerFactory]:
    """Hosts a file's `inference_handler(data, model_name)` for models: `mme_handler("handler.py", models, memory_mib=900)`.

    Its type is `HandlerFactory`. One process with TensorFlow's Python package, under the limit, runs it; it finds the
    models below `SM_MODEL_DIR`. It ends with the test; that of `mme_handler_module` ends with the module, and so on.
    """
    with Starting(_mme_run, request) as starting:
        yield starting.handler


def _aws(_mme_run: Run) -> Iterator[Aws]:
    """AWS for unchanged boto3 clients: `.s3 .sagemaker .runtime .cloudwatch`, `.bucket`, `.url` for other processes.

    Moto simulates S3 and SageMaker, the kit SageMaker Runtime; credentials are dummies, and restored afterwards. There
    is one AWS at a time: while a module has `mme_aws_module`, its tests' `mme_aws` is the same.
    """
    with _mme_run.aws() as aws:
        yield aws


def _endpoint(_mme_run: Run, mme_tf: str | None, request: pytest.FixtureRequest) -> Iterator[EndpointFactory]:
    """Starts endpoints of models: `mme_endpoint(models, name="ranking", fits=2)`.

    Its type is `EndpointFactory`. Fields as in `ServerSpec` and `EndpointSpec` (docs/reference.md); `@pytest.mark.mme(…)`
    sets defaults for a test. All endpoints end with the test; those of `mme_endpoint_module` end with the module, and
    so on.
    """
    with _mme_run.aws() as aws, Starting(_mme_run, request) as starting:
        yield lambda archives, **fields: starting.endpoint(aws, archives, **{"tf": mme_tf} | fields)


mme_server = pytest.fixture(_server)
mme_server_class = pytest.fixture(scope="class")(_server)
mme_server_module = pytest.fixture(scope="module")(_server)
mme_server_package = pytest.fixture(scope="package")(_server)
mme_server_session = pytest.fixture(scope="session")(_server)

mme_handler = pytest.fixture(_handler)
mme_handler_class = pytest.fixture(scope="class")(_handler)
mme_handler_module = pytest.fixture(scope="module")(_handler)
mme_handler_package = pytest.fixture(scope="package")(_handler)
mme_handler_session = pytest.fixture(scope="session")(_handler)

mme_aws = pytest.fixture(_aws)
mme_aws_class = pytest.fixture(scope="class")(_aws)
mme_aws_module = pytest.fixture(scope="module")(_aws)
mme_aws_package = pytest.fixture(scope="package")(_aws)
mme_aws_session = pytest.fixture(scope="session")(_aws)

mme_endpoint = pytest.fixture(_endpoint)
mme_endpoint_class = pytest.fixture(scope="class")(_endpoint)
mme_endpoint_module = pytest.fixture(scope="module")(_endpoint)
mme_endpoint_package = pytest.fixture(scope="package")(_endpoint)
mme_endpoint_session = pytest.fixture(scope="session")(_endpoint)


@pytest.fixture(scope="session")
def mme_traffic(_mme_run: Run) -> TrafficFactory:
    """Sends loads to a server or an endpoint: `mme_traffic(endpoint).closed(zipf(models), clients=8, requests=200)`.

    Mixes are `round_robin`, `uniform`, `zipf` and `trace`, the stages of `open` loads `hold`, `ramp` and `burst`.
    """
    return _mme_run.traffic


@pytest.fixture(scope="session")
def mme_faults(_mme_run: Run) -> FaultsFactory:
    """Breaks a server or an endpoint on purpose: `with mme_faults(endpoint).paused(model):`; always undone.

    Processes, memory, the network, S3, the disk, chaos: `Faults` describes them.
    """
    return _mme_run.faults
