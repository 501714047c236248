"""The fixtures: one short function for each, over the context managers of `Run`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mme.plugin import marks
from pytest_mme.plugin.evidence import evidence_of
from pytest_mme.plugin.options import SETTINGS
from pytest_mme.plugin.run import run_of
from pytest_mme.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from pytest_mme.aws.clients import Aws
    from pytest_mme.factories import EndpointFactory, FaultsFactory, HandlerFactory, ServerFactory, TrafficFactory
    from pytest_mme.hosting.endpoint import Endpoint
    from pytest_mme.kit import Run
    from pytest_mme.models.builder import Model, Models
    from pytest_mme.runtimes.server import Server
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


@pytest.fixture
def mme_server(_mme_run: Run, mme_tf: str | None, request: pytest.FixtureRequest) -> Iterator[ServerFactory]:
    """Starts servers that implement the container contract, without AWS: `mme_server(memory_mib=300)`.

    Its type is `ServerFactory`. Fields as in `ServerSpec` (docs/reference.md); `@pytest.mark.mme(…)` sets defaults for
    a test. All servers end with the test.
    """
    evidence = evidence_of(request.node)
    with contextlib.ExitStack() as stack:

        def start(**fields: Any) -> Server:
            fields = {"tf": mme_tf} | marks.defaults(request.node, "server") | fields
            server = stack.enter_context(_mme_run.server(timeline=evidence.timeline, **fields))
            evidence.add("server", server, fields)
            return server

        yield start


@pytest.fixture
def mme_handler(_mme_run: Run, request: pytest.FixtureRequest) -> Iterator[HandlerFactory]:
    """Hosts a file's `inference_handler(data, model_name)` for models: `mme_handler("handler.py", models, memory_mib=900)`.

    Its type is `HandlerFactory`. One process with TensorFlow's Python package, under the limit, runs it; it finds the
    models below `SM_MODEL_DIR`.
    """
    evidence = evidence_of(request.node)
    with contextlib.ExitStack() as stack:

        def start(module: Path | str | ModuleType, models: Sequence[Model], **fields: Any) -> Server:
            fields = marks.defaults(request.node, "server") | fields
            server = stack.enter_context(_mme_run.handler(module, models, timeline=evidence.timeline, **fields))
            evidence.add("handler", server, {"module": module, **fields}, models)
            return server

        yield start


@pytest.fixture
def mme_aws(_mme_run: Run) -> Iterator[Aws]:
    """AWS for unchanged boto3 clients: `.s3 .sagemaker .runtime .cloudwatch`, `.bucket`, `.url` for other processes.

    Moto simulates S3 and SageMaker, the kit SageMaker Runtime; credentials are dummies, and restored afterwards.
    """
    with _mme_run.aws() as aws:
        yield aws


@pytest.fixture
def mme_endpoint(
    _mme_run: Run, mme_aws: Aws, mme_tf: str | None, request: pytest.FixtureRequest
) -> Iterator[EndpointFactory]:
    """Starts endpoints of models: `mme_endpoint(models, name="ranking", fits=2)`.

    Its type is `EndpointFactory`. Fields as in `ServerSpec` and `EndpointSpec` (docs/reference.md); `@pytest.mark.mme(…)`
    sets defaults for a test. All endpoints end with the test.
    """
    evidence = evidence_of(request.node)
    with contextlib.ExitStack() as stack:

        def start(archives: Sequence[Model], **fields: Any) -> Endpoint:
            fields = {"tf": mme_tf} | marks.defaults(request.node, "endpoint") | fields
            endpoint = stack.enter_context(
                _mme_run.endpoint(archives, aws=mme_aws, timeline=evidence.timeline, **fields)
            )
            evidence.add("endpoint", endpoint, fields, archives)
            return endpoint

        yield start


@pytest.fixture
def mme_traffic(_mme_run: Run) -> TrafficFactory:
    """Sends loads to a server or an endpoint: `mme_traffic(endpoint).closed(zipf(models), clients=8, requests=200)`.

    Mixes are `round_robin`, `uniform`, `zipf` and `trace`, the stages of `open` loads `hold`, `ramp` and `burst`.
    """
    return _mme_run.traffic


@pytest.fixture
def mme_faults(_mme_run: Run) -> FaultsFactory:
    """Breaks a server or an endpoint on purpose: `with mme_faults(endpoint).paused(model):`; always undone.

    Processes, memory, the network, S3, the disk, chaos: `Faults` describes them.
    """
    return _mme_run.faults
