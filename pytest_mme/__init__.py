"""Test SageMaker multi-model endpoints of TensorFlow SavedModels, on your machine, in seconds.

The names below are for annotations and for use without pytest; fixtures come from the plugin and are never imported.
They are resolved when they are first used: importing this package loads nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_mme.answers import Answer as Answer
    from pytest_mme.aws.clients import Aws as Aws
    from pytest_mme.contract.client import ContractClient as ContractClient
    from pytest_mme.contract.client import Reply as Reply
    from pytest_mme.faults.faults import Faults as Faults
    from pytest_mme.hosting.endpoint import Endpoint as Endpoint
    from pytest_mme.kit import Run as Run
    from pytest_mme.models.builder import Model as Model
    from pytest_mme.models.builder import Models as Models
    from pytest_mme.models.spec import ModelSpec as ModelSpec
    from pytest_mme.runtimes.server import Server as Server
    from pytest_mme.settings import Settings as Settings
    from pytest_mme.timeline.events import Event as Event
    from pytest_mme.timeline.events import Timeline as Timeline
    from pytest_mme.traffic.arrivals import Stage as Stage
    from pytest_mme.traffic.arrivals import burst as burst
    from pytest_mme.traffic.arrivals import hold as hold
    from pytest_mme.traffic.arrivals import ramp as ramp
    from pytest_mme.traffic.load import Load as Load
    from pytest_mme.traffic.mixes import Mix as Mix
    from pytest_mme.traffic.mixes import round_robin as round_robin
    from pytest_mme.traffic.mixes import trace as trace
    from pytest_mme.traffic.mixes import uniform as uniform
    from pytest_mme.traffic.mixes import zipf as zipf
    from pytest_mme.traffic.traffic import Traffic as Traffic

_HOMES = {
    "Answer": "answers",
    "Aws": "aws.clients",
    "ContractClient": "contract.client",
    "Endpoint": "hosting.endpoint",
    "Event": "timeline.events",
    "Faults": "faults.faults",
    "Load": "traffic.load",
    "Mix": "traffic.mixes",
    "Model": "models.builder",
    "ModelSpec": "models.spec",
    "Models": "models.builder",
    "Reply": "contract.client",
    "Run": "kit",
    "Server": "runtimes.server",
    "Settings": "settings",
    "Stage": "traffic.arrivals",
    "Timeline": "timeline.events",
    "Traffic": "traffic.traffic",
    "burst": "traffic.arrivals",
    "hold": "traffic.arrivals",
    "ramp": "traffic.arrivals",
    "round_robin": "traffic.mixes",
    "trace": "traffic.mixes",
    "uniform": "traffic.mixes",
    "zipf": "traffic.mixes",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605, RUF100


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pytest_mme' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pytest_mme.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
