"""The GPU that models run on: which one it is, and how much of its memory is in use, by NVIDIA's management library.

AWS supports multi-model endpoints on GPUs with Triton's container only ("Supported algorithms, frameworks, and
instances for multi-model endpoints"): TensorFlow on GPUs is worth testing, but not supported in production.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from pytest_mme.errors import UnavailableError
from pytest_mme.serving.config import Device, DeviceAsked

NOT_IN_PRODUCTION = "AWS supports GPU multi-model endpoints with Triton's container only"

_INSTALL = "pip install 'pytest-mme[gpu]'"


class Gpu:
    """One of the GPUs that `CUDA_VISIBLE_DEVICES` leaves visible, by its number among them."""

    def __init__(self, number: int = 0) -> None:
        """Raises `UnavailableError` when there is no GPU of that number, no driver or no management library."""
        library = _library()
        handles = _visible(library, os.environ.get("CUDA_VISIBLE_DEVICES"))
        if number >= len(handles):
            raise _unavailable(f"gpu {number} was asked for, {len(handles)} are visible", "choose another with gpu=")
        self._library, self._handle = library, handles[number]
        self.uuid = _text(library.nvmlDeviceGetUUID(self._handle))
        """Its name in `CUDA_VISIBLE_DEVICES`."""
        self.name = _text(library.nvmlDeviceGetName(self._handle))

    def memory(self) -> dict[str, int]:
        """The memory that all processes of the machine use, and the GPU's whole memory, in bytes."""
        seen = self._library.nvmlDeviceGetMemoryInfo(self._handle)
        return {"gpu_used_bytes": int(seen.used), "gpu_total_bytes": int(seen.total)}


def settle(device: DeviceAsked) -> Device:
    """Resolve ``"auto"``: ``"gpu"`` when there is one, else ``"cpu"``."""
    if device != "auto":
        return device
    try:
        Gpu()
    except UnavailableError:
        return "cpu"
    return "gpu"


def _library() -> ModuleType:
    try:
        import pynvml
    except ImportError as error:
        raise _unavailable(str(error), _INSTALL) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _unavailable(f"NVIDIA's driver does not respond: {error}", "run on a machine with a GPU") from error
    library: ModuleType = pynvml
    return library


def _visible(library: ModuleType, visible: str | None) -> list[Any]:
    """CUDA's rule: a list of numbers or beginnings of UUIDs; the first that names no GPU ends the list."""
    handles = [library.nvmlDeviceGetHandleByIndex(number) for number in range(library.nvmlDeviceGetCount())]
    if visible is None:
        return handles
    chosen = []
    for entry in filter(None, map(str.strip, visible.split(","))):
        named = [handles[int(entry)]] if entry.isdecimal() and int(entry) < len(handles) else []
        named += [
            one for one in handles if not entry.isdecimal() and _text(library.nvmlDeviceGetUUID(one)).startswith(entry)
        ]
        if not named:
            break
        chosen.append(named[0])
    return chosen


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _unavailable(seen: str, advice: str) -> UnavailableError:
    return UnavailableError('device="gpu"', seen, advice)
