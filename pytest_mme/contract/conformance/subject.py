"""The server that is judged, the models that it is judged with, and the time limits of its replies."""

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
"""The weights of the model for the clause about memory, in MiB: several times what a tiny model's process takes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How many seconds a server may take for its whole reply."""

    ping_s: float = routes.PING_TIMEOUT_S
    load_s: float = routes.LOAD_TIMEOUT_S
    unload_s: float = routes.UNLOAD_TIMEOUT_S
    invoke_s: float = routes.INVOKE_TIMEOUT_S
    look_s: float = 10.0
    """For `GET /models` and `GET /models/ID` (assumed: AWS documents none; the platform lists every 5 s or so)."""


CONTRACT_LIMITS = Limits()
"""The limits that the contract names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A running server that is to be judged."""

    client: ContractClient
    models: Path
    """Where models are put for it, on this side."""
    place: Callable[[Path], str]
    """Makes a folder below `models` visible to the server, and returns its path there."""
    used_bytes: Callable[[], int] | None = None
    """Measures how many bytes its models use now; None where that cannot be measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Specimens:
    """The models that a server is judged with; what they predict is known."""

    first: Model
    second: Model
    heavy: Model
    """With weights of `HEAVY_MIB`; loaded only where memory is judged."""

    @classmethod
    def build(cls, builder: Models, **spec: Any) -> Specimens:
        """Build them; *spec*: more fields of `ModelSpec`, such as the `handler` that an image needs."""
        first, second = builder.fleet(2, "conformance", **spec)
        return cls(
            first=first,
            second=second,
            heavy=builder.linear("conformance-heavy", **{"weights_mib": HEAVY_MIB, **spec}),
        )


def opaque() -> str:
    """A new id as real endpoints use them, 32 hexadecimal digits; the first is a letter."""
    return f"a{uuid.uuid4().hex[1:]}"


def request(model: Model) -> bytes:
    """The body of a request with the example of *model*, in TensorFlow Serving's row format."""
    assert model.spec is not None
    return json.dumps({"instances": [model.spec.example]}).encode()
