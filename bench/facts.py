"""The machine that was measured on, and what else it did meanwhile."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime, timezone

import psutil

from bench.processes import ROOT
from pytest_mme import Settings
from pytest_mme.plugin.header import enforcement

BUSY = 1.5
"""A load average from which on figures are not to be trusted."""


class Machine:
    """Made before the first measurement; `facts` after the last."""

    def __init__(self) -> None:
        self.load_before = os.getloadavg()[0]
        self._start_s, self._all_s, self._own_s = time.monotonic(), _busy_s(), _own_busy_s()

    @property
    def busy(self) -> bool:
        """Whether something else was running when the measurements began."""
        return self.load_before > BUSY

    def facts(self) -> Mapping[str, str]:
        """For the end of the output."""
        took_s = time.monotonic() - self._start_s
        return {
            "date": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, took {took_s:.0f} s",
            "machine": f"{os.cpu_count()} cores, {_cpu()}, {platform.system()} {platform.release()}",
            "commit": _commit(),
            "Python": platform.python_version(),
            "TensorFlow": importlib.metadata.version("tensorflow"),
            "memory limits by": enforcement(Settings.resolve(environment=os.environ).enforcement.value),
            "load average": f"{self.load_before:.2f} before, {os.getloadavg()[0]:.2f} after",
            "other processes": f"{self._others_share(took_s):.0%} of the CPU time meanwhile",
        }

    def _others_share(self, took_s: float) -> float:
        others_s = (_busy_s() - self._all_s) - (_own_busy_s() - self._own_s)
        return max(others_s, 0.0) / (took_s * (os.cpu_count() or 1))


def _busy_s() -> float:
    """CPU seconds of the whole machine."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def _own_busy_s() -> float:
    """CPU seconds of this process and of all below it that have ended."""
    return sum(os.times()[:4])


def _commit() -> str:
    """What was measured."""
    try:
        commit, changed = (
            subprocess.run(["git", *command], cwd=ROOT, capture_output=True, check=True, text=True).stdout.strip()
            for command in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} with changes" if changed else commit


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123, RUF100
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
