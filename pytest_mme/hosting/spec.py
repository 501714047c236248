"""The specification of an endpoint, `EndpointSpec`, and the check of its archives."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_mme.contract import routes
from pytest_mme.hosting.eviction import POLICIES, Policy
from pytest_mme.validation import check, number, rule, text

if TYPE_CHECKING:
    from pytest_mme.models.builder import Model

_MAX_PREFIX_BYTES = 512  # S3's keys end at 1024, and the archive's name comes behind
_SECONDS = number("seconds, more than 0, at most 360", least=sys.float_info.min, most=routes.LOAD_TIMEOUT_S)


def _is_policy(seen: Any) -> bool:
    return callable(seen) or (isinstance(seen, str) and seen in POLICIES)


def _is_prefix(seen: Any) -> bool:
    if not isinstance(seen, str) or not seen.isprintable():
        return False
    return not seen.startswith("/") and len(seen.encode()) <= _MAX_PREFIX_BYTES


@dataclass(frozen=True, kw_only=True)
class EndpointSpec:
    """What the platform's side must be like.

    A wrong field raises ValueError that names the field, what was seen and what it takes.
    """

    name: str | None = field(
        default=None,
        metadata=text(
            "1 to 63 letters, digits and inner dashes", r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", verb="SageMaker allows"
        ),
    )
    """What clients call it; None: a name that no other endpoint has."""
    eviction: str | Policy = field(
        default="lru",
        metadata=rule(f"one of {', '.join(POLICIES)}, or give a function", _is_policy, verb="choose"),
    )
    """Which idle model is evicted when another needs room: ``"lru"``, ``"fifo"``, ``"lfu"`` or a function (assumed)."""
    prefix: str | None = field(default=None, metadata=rule("a folder of the bucket, such as 'models/'", _is_prefix))
    """Where in the bucket the archives lie; None: a folder of the endpoint's name."""
    ready_s: float = field(default=60.0, metadata=_SECONDS)
    """How long a request waits for its model before the reply is `ModelNotReadyException`, in seconds."""
    invoke_s: float = field(default=routes.INVOKE_TIMEOUT_S, metadata=_SECONDS)
    """How long the container may take to reply, in seconds."""

    def __post_init__(self) -> None:
        check(self)

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


def check_archives(models: Sequence[Model]) -> None:
    """Raise TypeError when *models* is not a list of models, ValueError when it is empty or two have one key in S3."""
    from pytest_mme.models.builder import Model  # the plugin reads the specification above, and nothing else, at once

    if isinstance(models, Model) or not all(isinstance(model, Model) for model in models):
        raise TypeError(
            f"give a list of models, not {models!r}: "
            "mme_models.archive(path) makes one of an archive or a SavedModel folder"
        )
    keys = [model.key for model in models]
    if not keys:
        raise ValueError("give at least one model")
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"two archives are called {', '.join(twice)}: give them names of their own, linear(name=…)")
