"""What an endpoint is asked to be: `EndpointSpec`, and the archives that it may have."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Sequence

from pytest_mme.contract import routes
from pytest_mme.errors import shown
from pytest_mme.hosting.eviction import POLICIES, Policy
from pytest_mme.models.builder import Model

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")  # SageMaker's pattern of EndpointName
_MAX_PREFIX_BYTES = 512  # S3's keys end at 1024, and the archive's name comes behind


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointSpec:
    """What the platform's side must be like."""

    name: str | None = None
    """What clients call it; None: a name that no other endpoint has."""
    eviction: str | Policy = "lru"
    """Which idle model is evicted when another needs room: ``"lru"``, ``"fifo"``, ``"lfu"`` or a function (assumed)."""
    prefix: str | None = None
    """Where in the bucket the archives lie; None: a folder of the endpoint's name."""
    ready_s: float = 60.0
    """How long a request waits for its model before the reply is `ModelNotReadyException`, in seconds."""
    invoke_s: float = routes.INVOKE_TIMEOUT_S
    """How long the container may take to reply, in seconds."""

    def __post_init__(self) -> None:
        if self.name is not None and not (isinstance(self.name, str) and _NAME.fullmatch(self.name)):
            raise ValueError(f"name={shown(self.name)}: SageMaker allows 1 to 63 letters, digits and inner dashes")
        if not callable(self.eviction) and self.eviction not in tuple(POLICIES):
            raise ValueError(
                f"eviction={shown(self.eviction)}: choose one of {', '.join(POLICIES)}, or give a function"
            )
        if self.prefix is not None and not _is_prefix(self.prefix):
            raise ValueError(f"prefix={shown(self.prefix)}: give a folder of the bucket, such as 'models/'")
        for field in ("ready_s", "invoke_s"):
            if not _is_seconds(seen := getattr(self, field)):
                raise ValueError(f"{field}={shown(seen)}: give seconds, more than 0, at most 360")

    @property
    def policy(self) -> Policy:
        """The eviction policy as a function."""
        return self.eviction if callable(self.eviction) else POLICIES[self.eviction]

    def folder(self, name: str) -> str:
        """The prefix of the archives of an endpoint that is called *name*; warns where a slash has to be inserted."""
        prefix = f"{name}/" if self.prefix is None else self.prefix
        if prefix and not prefix.endswith("/"):
            warnings.warn(f"prefix={prefix!r} does not end in a slash; one is inserted (assumed)", stacklevel=2)
            prefix += "/"
        return prefix


def check_archives(models: Sequence[Model]) -> Sequence[Model]:
    """Return *models*; raise TypeError when they are not a list of models, ValueError for none or for equal keys in S3."""
    if isinstance(models, Model) or not all(isinstance(model, Model) for model in models):
        raise TypeError(
            f"an endpoint takes a list of models, not {models!r}: "
            "mme_models.archive(path) makes one of an archive or a SavedModel folder"
        )
    keys = [model.key for model in models]
    if not keys:
        raise ValueError("an endpoint needs at least one archive")
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"two archives are called {', '.join(twice)}: give them names of their own, linear(name=…)")
    return models


def _is_seconds(seen: object) -> bool:
    return isinstance(seen, int | float) and not isinstance(seen, bool) and 0 < seen <= routes.LOAD_TIMEOUT_S


def _is_prefix(seen: object) -> bool:
    if not isinstance(seen, str) or not seen.isprintable():
        return False
    return not seen.startswith("/") and len(seen.encode()) <= _MAX_PREFIX_BYTES
