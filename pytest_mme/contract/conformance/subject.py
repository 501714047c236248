"""What is judged: a running server; what with: models whose answers are known; and by when it must have answered."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient

if TYPE_CHECKING:
    from pytest_mme.models.builder import Model, Models

HEAVY_MIB = 64
"""The weights of the model that memory is judged by: several times what a tiny model's process takes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How many seconds a server may take for its whole answer."""

    ping_s: float = routes.PING_TIMEOUT_S
    load_s: float = routes.LOAD_TIMEOUT_S
    unload_s: float = routes.UNLOAD_TIMEOUT_S
    invoke_s: float = routes.INVOKE_TIMEOUT_S
    look_s: float = 10.0
    """For `GET /models` and `GET /models/ID`. Nobody documents it; the platform lists every 5 s or so."""


CONTRACT_LIMITS = Limits()
"""The contract's own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A running server that is to be judged."""

    client: ContractClient
    models: Path
    """Where models are put for it, on this side."""
    place: Callable[[Path], str]
    """Makes a folder below `models` visible to the server; how the server calls it."""
    used_bytes: Callable[[], int] | None = None
    """What its models use now; None: nobody can tell."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Specimens:
    """The models that a server is judged with; their answers are known."""

    first: Model
    second: Model
    heavy: Model
    """With weights of `HEAVY_MIB`; loaded only where memory is judged."""

    @classmethod
    def build(cls, builder: Models, **spec: Any) -> Specimens:
        """Those that *builder* makes; *spec*: more fields of `ModelSpec`, such as the `handler` that an image needs."""
        first, second = builder.fleet(2, "conformance", **spec)
        return cls(
            first=first,
            second=second,
            heavy=builder.linear("conformance-heavy", **{"weights_mib": HEAVY_MIB, **spec}),
        )


def opaque() -> str:
    """An id as real endpoints use them, 32 hexadecimal digits; the first is a letter."""
    return f"a{uuid.uuid4().hex[1:]}"


def request(model: Model) -> bytes:
    """The body that asks *model* for its example, TensorFlow Serving's row format."""
    assert model.spec is not None
    return json.dumps({"instances": [model.spec.example]}).encode()
