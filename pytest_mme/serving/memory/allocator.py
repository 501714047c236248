"""The allocator budget: an out-of-memory that TensorFlow itself reports and survives.

A small library, preloaded into the zygote, counts the workers' large allocations in memory that they all share, and
refuses TensorFlow's own once the budget is spent: `RESOURCE_EXHAUSTED: OOM when allocating tensor …`, at once, every
time, and the worker lives on. It does not see graph constants (docs/facts.md).
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import platformdirs

from pytest_mme.errors import UnavailableError
from pytest_mme.serving.memory.enforcement import Enforcement

_SLOTS = 1024  # as in allocator.c
_LEDGER = struct.Struct(f"=qq{_SLOTS}q")


class AllocatorBudget(Enforcement):
    """The front's side of the shared ledger."""

    name = "allocator budget"
    cheap_to_measure = True
    worker_bytes = 2**20  # a tiny model's worker was seen to make 0.5 MiB of large allocations

    def __init__(self, limit_bytes: int) -> None:
        """Compile the library when there is none yet; raises `UnavailableError` without a C compiler."""
        library = compiled()
        self._limit_bytes = limit_bytes
        self._descriptor = os.memfd_create("pytest-mme-allocator")
        os.ftruncate(self._descriptor, _LEDGER.size)
        self._ledger = mmap.mmap(self._descriptor, _LEDGER.size)
        self._ledger[:8] = struct.pack("=q", limit_bytes)
        self._free_slots = set(range(_SLOTS))
        self.descriptors: tuple[int, ...] = (self._descriptor,)
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "MME_ALLOCATOR_FD": str(self._descriptor),
            "TF_ENABLE_ONEDNN_OPTS": "0",  # its own pool would hide what TensorFlow uses
        }

    @property
    def limit_bytes(self) -> int:
        """The limit that the server was started with."""
        return self._limit_bytes

    def reserve(self) -> Mapping[str, Any]:
        """Reserve a slot for a new worker; raises OSError when all are taken."""
        if not self._free_slots:
            raise OSError(f"the allocator budget has room for {_SLOTS} workers")
        return {"allocator_slot": self._free_slots.pop()}

    def release(self, reserved: Mapping[str, Any]) -> None:
        """Clear the slot of a worker that is gone."""
        slot = reserved.get("allocator_slot")
        if slot is None:
            return
        start = 16 + 8 * slot
        self._ledger[start : start + 8] = bytes(8)
        self._free_slots.add(slot)

    def used_bytes(self) -> int:
        """The workers' large allocations."""
        return sum(self._read()[2:])

    def bytes_of(self, pid: int, reserved: Mapping[str, Any]) -> int:
        """The large allocations of one worker."""
        del pid
        return self._read()[2 + int(reserved["allocator_slot"])]

    def refusals(self) -> int:
        """How many of TensorFlow's allocations have been refused."""
        return self._read()[1]

    def _read(self) -> tuple[int, ...]:
        return _LEDGER.unpack(self._ledger)

    def close(self) -> None:
        """Free the shared memory."""
        self._ledger.close()
        os.close(self._descriptor)


def use_slot(slot: int) -> None:
    """In a worker: let the preloaded library count this process's allocations under *slot*."""
    ctypes.CDLL(None).mme_allocator_use_slot(slot)


def compiled() -> Path:
    """The library, compiled once for each version of its source; raises `UnavailableError`."""
    source = files(__package__).joinpath("allocator.c").read_bytes()
    target = platformdirs.user_cache_path("pytest-mme") / "allocator" / f"{hashlib.sha256(source).hexdigest()[:16]}.so"
    if target.exists():
        return target
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise UnavailableError('oom="tensorflow"', "no C compiler was found on the PATH", "install gcc or clang")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(f".{os.getpid()}.tmp")
    command = [compiler, "-O2", "-shared", "-fPIC", "-x", "c", "-", "-o", str(draft)]
    done = subprocess.run(command, input=source, capture_output=True, check=False)
    if done.returncode:
        raise UnavailableError('oom="tensorflow"', done.stderr.decode(errors="replace").strip(), "see the message")
    draft.replace(target)
    return target
