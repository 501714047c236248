"""The header: how this session is set up, in one line."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Collection
from datetime import datetime, timezone
from importlib import metadata

import pytest

from pytest_mme import versions
from pytest_mme.errors import UnavailableError
from pytest_mme.plugin.options import SETTINGS
from pytest_mme.settings import OPTIONS, Settings


def pytest_report_header(config: pytest.Config) -> str:
    """Show which runtime, which TensorFlow, which memory enforcement; then what was set, and where."""
    return f"mme: {described(config)}"


def described(config: pytest.Config, *, without: Collection[str] = ()) -> str:
    """Describe how the session is set up, without the options of these names."""
    settings = config.stash[SETTINGS]
    chosen = [
        f"{option.name}={setting.value} ({setting.source})"
        for option in OPTIONS
        if (setting := getattr(settings, option.name)).source != "default" and option.name not in without
    ]
    return "; ".join([f"runtime {settings.runtime.value}, {_described(settings)}", *chosen])


def versions_line() -> str:
    """Return when this is, and which versions are at work."""
    began = datetime.now(timezone.utc).astimezone()
    return (
        f"{began:%Y-%m-%d %H:%M %Z}, pytest-mme {metadata.version('pytest-mme')}, pytest {pytest.__version__}, "
        f"Python {platform.python_version()}, {platform.system()}"
    )


def _described(settings: Settings) -> str:
    """Describe the runtime; an image without the engine, which a session that starts no server does not need."""
    if settings.runtime.value == "attach":
        return f"the server at {settings.url.value}, memory limits by whoever started it"
    if settings.runtime.value == "docker":
        from pytest_mme.images.build import default_image

        image = settings.image.value or default_image()
        return f"image {image}, {_device(settings)}, memory limits by the container's memory cgroup"
    try:
        tensorflow = versions.installed()
    except UnavailableError:
        tensorflow = f"{versions.DEFAULT} (fetched: none is installed)"
    limits = enforcement(settings.enforcement.value)
    return f"tensorflow {tensorflow}, {_device(settings)}, memory limits by {limits}"


def _device(settings: Settings) -> str:
    from pytest_mme.serving.memory import gpu

    on_gpu = gpu.settle(settings.device.value) == "gpu"
    return f"on a GPU ({gpu.NOT_IN_PRODUCTION})" if on_gpu else "on the CPU"


def enforcement(asked: str) -> str:
    """Return how the local runtime will limit memory on this machine, having tried it."""
    from pytest_mme.serving.memory import cgroups

    if asked == "sampled":
        return "sampling"
    try:
        cgroup = cgroups.create(f"pytest-mme-probe-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    except OSError:
        return "nothing: no memory cgroup may be made here" if asked == "cgroup" else "sampling"
    cgroups.remove(cgroup.directory)
    return f"memory cgroup v{cgroup.version}"
