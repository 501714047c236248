"""What a test needs and a machine may lack: there the test is skipped, and in CI it fails."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

from pytest_mme.serving.memory import cgroups

ALL = bool(os.environ.get("MME_TEST_ALL"))
"""Whether everything has to be tested: `.ci/run` says so, where a container engine and cgroups are at hand."""


needs_compiler = pytest.mark.skipif(
    not (ALL or any(map(shutil.which, ("cc", "gcc", "clang")))), reason="no C compiler is on the PATH: install gcc"
)
"""Marks a test that compiles C."""


def _may_make_cgroups() -> bool:
    try:
        cgroup = cgroups.create(f"pytest-mme-may-make-{os.getpid()}")
    except OSError:
        return False
    return cgroups.remove(cgroup.directory)


needs_cgroup = pytest.mark.skipif(not (ALL or _may_make_cgroups()), reason="no memory cgroup may be made here")
"""Marks a test whose memory limit the kernel enforces."""


def lacking(what: str) -> NoReturn:
    """Skip the test, or fail it where everything has to be tested."""
    if ALL:
        pytest.fail(f"MME_TEST_ALL is set, but {what}", pytrace=False)
    pytest.skip(what)
