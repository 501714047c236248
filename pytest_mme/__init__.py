"""Test SageMaker multi-model endpoints of TensorFlow SavedModels, on your machine, in seconds.

The names below are for annotations, for `except` and for use without pytest; fixtures come from the plugin and are
never imported. Each is resolved when it is first used: importing this package loads nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_mme.answers import Answer as Answer
    from pytest_mme.aws.clients import Aws as Aws
    from pytest_mme.contract.client import ContractClient as ContractClient
    from pytest_mme.contract.client import Reply as Reply
    from pytest_mme.errors import AnswersError as AnswersError
    from pytest_mme.errors import ArchiveError as ArchiveError
    from pytest_mme.errors import BuildError as BuildError
    from pytest_mme.errors import ContractError as ContractError
    from pytest_mme.errors import FitsError as FitsError
    from pytest_mme.errors import ImageBuildError as ImageBuildError
    from pytest_mme.errors import LeftBehindWarning as LeftBehindWarning
    from pytest_mme.errors import MMEError as MMEError
    from pytest_mme.errors import NoAnswerError as NoAnswerError
    from pytest_mme.errors import NotReadyError as NotReadyError
    from pytest_mme.errors import OpLibraryError as OpLibraryError
    from pytest_mme.errors import OutdatedImageWarning as OutdatedImageWarning
    from pytest_mme.errors import ServerStartError as ServerStartError
    from pytest_mme.errors import SettingError as SettingError
    from pytest_mme.errors import TensorFlowError as TensorFlowError
    from pytest_mme.errors import TensorFlowMissingError as TensorFlowMissingError
    from pytest_mme.errors import UnavailableError as UnavailableError
    from pytest_mme.errors import UnknownAnswerError as UnknownAnswerError
    from pytest_mme.factories import EndpointFactory as EndpointFactory
    from pytest_mme.factories import FaultsFactory as FaultsFactory
    from pytest_mme.factories import HandlerFactory as HandlerFactory
    from pytest_mme.factories import ServerFactory as ServerFactory
    from pytest_mme.factories import TrafficFactory as TrafficFactory
    from pytest_mme.faults.faults import Faults as Faults
    from pytest_mme.hosting.endpoint import Endpoint as Endpoint
    from pytest_mme.hosting.spec import EndpointSpec as EndpointSpec
    from pytest_mme.kit import Run as Run
    from pytest_mme.models.builder import Model as Model
    from pytest_mme.models.builder import Models as Models
    from pytest_mme.models.spec import CustomOp as CustomOp
    from pytest_mme.models.spec import ModelSpec as ModelSpec
    from pytest_mme.runtimes.server import Server as Server
    from pytest_mme.runtimes.spec import ServerSpec as ServerSpec
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

_NAMES = {
    "answers": ("Answer",),
    "aws.clients": ("Aws",),
    "contract.client": ("ContractClient", "Reply"),
    "errors": (
        "AnswersError",
        "ArchiveError",
        "BuildError",
        "ContractError",
        "FitsError",
        "ImageBuildError",
        "LeftBehindWarning",
        "MMEError",
        "NoAnswerError",
        "NotReadyError",
        "OpLibraryError",
        "OutdatedImageWarning",
        "ServerStartError",
        "SettingError",
        "TensorFlowError",
        "TensorFlowMissingError",
        "UnavailableError",
        "UnknownAnswerError",
    ),
    "factories": ("EndpointFactory", "FaultsFactory", "HandlerFactory", "ServerFactory", "TrafficFactory"),
    "faults.faults": ("Faults",),
    "hosting.endpoint": ("Endpoint",),
    "hosting.spec": ("EndpointSpec",),
    "kit": ("Run",),
    "models.builder": ("Model", "Models"),
    "models.spec": ("CustomOp", "ModelSpec"),
    "runtimes.server": ("Server",),
    "runtimes.spec": ("ServerSpec",),
    "settings": ("Settings",),
    "timeline.events": ("Event", "Timeline"),
    "traffic.arrivals": ("Stage", "burst", "hold", "ramp"),
    "traffic.load": ("Load",),
    "traffic.mixes": ("Mix", "round_robin", "trace", "uniform", "zipf"),
    "traffic.traffic": ("Traffic",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOMES)  # noqa: PLE0605, RUF100


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pytest_mme' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pytest_mme.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
