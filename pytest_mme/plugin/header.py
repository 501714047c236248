"""The header: how this run is set up, in one line."""

from __future__ import annotations

import os
import uuid

from pytest_mme import versions
from pytest_mme.errors import UnavailableError
from pytest_mme.serving.memory import cgroups, gpu
from pytest_mme.settings import OPTIONS, Settings

_SAMPLED = "sampling"
_SHOWN = {"cpu": "on the CPU", "gpu": f"on a GPU ({gpu.NOT_IN_PRODUCTION})"}


def header(settings: Settings) -> str:
    """Which runtime, which TensorFlow, which memory enforcement; then what was set, and where."""
    line = _RUNTIMES[settings.runtime.value](settings)
    chosen = [
        f"{option.name}={setting.value} ({setting.source})"
        for option in OPTIONS
        if (setting := getattr(settings, option.name)).source != "default"
    ]
    return "; ".join([line, *chosen])


def _local(settings: Settings) -> str:
    device, limits = gpu.settle(settings.device.value), enforcement(settings.enforcement.value)
    return f"mme: runtime local, tensorflow {_tensorflow()}, {_SHOWN[device]}, memory limits by {limits}"


def _docker(settings: Settings) -> str:
    """The engine is not asked: a run that starts no server does without it."""
    from pytest_mme.images.build import default_image

    image, device = settings.image.value or default_image(), gpu.settle(settings.device.value)
    return f"mme: runtime docker, image {image}, {_SHOWN[device]}, memory limits by the container's memory cgroup"


def _attach(settings: Settings) -> str:
    return f"mme: runtime attach, the server at {settings.url.value}, memory limits by whoever started it"


_RUNTIMES = {"local": _local, "docker": _docker, "attach": _attach}


def _tensorflow() -> str:
    try:
        return versions.installed()
    except UnavailableError:
        return f"{versions.DEFAULT} (fetched: none is installed)"


def enforcement(asked: str) -> str:
    """How the local runtime will limit memory here, tried out."""
    if asked != "sampled":
        try:
            cgroup = cgroups.create(f"pytest-mme-probe-{os.getpid()}-{uuid.uuid4().hex[:8]}")
        except OSError:
            return "nothing: no memory cgroup may be made here" if asked == "cgroup" else _SAMPLED
        cgroups.remove(cgroup.directory)
        return f"memory cgroup v{cgroup.version}"
    return _SAMPLED
