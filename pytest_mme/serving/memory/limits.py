"""Chooses how the workers' memory is kept within its limit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory import cgroups
from pytest_mme.serving.memory.allocator import AllocatorBudget
from pytest_mme.serving.memory.cgroup_limits import CgroupLimit, ContainerLimit
from pytest_mme.serving.memory.enforcement import Enforcement
from pytest_mme.serving.memory.sampled_limit import NoLimit, SampledLimit

log = logging.getLogger("pytest_mme")


def enforce(config: ServingConfig, pids: Callable[[], Collection[int]], kill: Callable[[int], None]) -> Enforcement:
    """The enforcement that *config* asks for and this system allows; raises OSError when it does not allow it.

    *pids*: the workers there are. *kill*: ends one of them.
    """
    if config.memory_bytes is not None and config.oom == "tensorflow":
        return AllocatorBudget(config.memory_bytes)
    if config.enforcement == "container":
        return ContainerLimit(pids, cgroups.own())
    if config.enforcement != "sampled":
        try:
            return CgroupLimit.create(config)
        except OSError as error:
            if config.enforcement == "cgroup":
                raise
            log.info("%s", error)
    return NoLimit(pids) if config.memory_bytes is None else SampledLimit(pids, config.memory_bytes, kill)
