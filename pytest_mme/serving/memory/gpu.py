"""The GPU that models run on: which one it is, and how much of its memory is in use, by NVIDIA's management library.

AWS supports multi-model endpoints on GPUs with Triton's container only ("Supported algorithms, frameworks, and
instances for multi-model endpoints"): TensorFlow's on them is worth testing and no supported set-up in production.
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
    """One GPU, of those that `CUDA_VISIBLE_DEVICES` leaves visible, by its number among them."""

    def __init__(self, number: int = 0) -> None:
        """Raises `UnavailableError` when there is none of that number, or nothing to ask."""
        library = _library()
        handles = _visible(library, os.environ.get("CUDA_VISIBLE_DEVICES"))
        if number >= len(handles):
            raise _unavailable(f"gpu {number} was asked for, {len(handles)} are visible", "choose another with gpu=")
        self._library, self._handle = library, handles[number]
        self.uuid = _text(library.nvmlDeviceGetUUID(self._handle))
        """What `CUDA_VISIBLE_DEVICES` knows it by."""
        self.name = _text(library.nvmlDeviceGetName(self._handle))

    def memory(self) -> dict[str, int]:
        """What all processes of the machine use of it, and what there is, in bytes."""
        seen = self._library.nvmlDeviceGetMemoryInfo(self._handle)
        return {"gpu_used_bytes": int(seen.used), "gpu_total_bytes": int(seen.total)}


def settle(device: DeviceAsked) -> Device:
    """``"cpu"`` or ``"gpu"``, for which ``"auto"`` stands too: a GPU where there is one."""
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
        raise _unavailable(f"NVIDIA's driver does not answer: {error}", "run on a machine with a GPU") from error
    library: ModuleType = pynvml
    return library


def _visible(library: ModuleType, visible: str | None) -> list[Any]:
    """CUDA's own rule: a list of numbers or of (beginnings of) UUIDs, which the first that names no GPU ends."""
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


def _text(said: str | bytes) -> str:
    return said.decode() if isinstance(said, bytes) else said


def _unavailable(seen: str, advice: str) -> UnavailableError:
    return UnavailableError('device="gpu"', seen, advice)
