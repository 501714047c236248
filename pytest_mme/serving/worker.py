"""A worker: one model in one process."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pytest_mme.errors import ArchiveError, TensorFlowError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel
from pytest_mme.models.archive import versions
from pytest_mme.serving import rest
from pytest_mme.serving.allocator import use_slot
from pytest_mme.serving.channel import Head, WorkerEnd
from pytest_mme.serving.estimate import estimate
from pytest_mme.serving.zygote import WorkerConfig

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_REQUESTS_AT_ONCE = 64


def work(config: WorkerConfig, end: socket.socket, library: Library) -> None:
    """Serve the front at the other *end* until it hangs up; runs in the forked process."""
    _die_with_parent()
    if config.cgroup_procs:
        Path(config.cgroup_procs).write_text("0")
    if config.allocator_slot is not None:
        use_slot(config.allocator_slot)
    worker = Worker(config, WorkerEnd(end), library)
    worker.run()


def _die_with_parent() -> None:
    """End even if this process is stopped or stuck when the zygote is killed: the kernel sends the signal."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class Worker:
    """Answers the front's requests: `estimate`, `load`, `invoke`."""

    def __init__(self, config: WorkerConfig, front: WorkerEnd, library: Library) -> None:
        self._config, self._front, self._library = config, front, library
        self._model: SavedModel | None = None

    def run(self) -> None:
        """Take requests until the front hangs up. Those still running then are cut off with the process."""
        pool = ThreadPoolExecutor(_REQUESTS_AT_ONCE, "request")
        self._front.serve(lambda number, head, body: pool.submit(self._answer, number, head, body))

    def _answer(self, number: int, head: Head, body: bytes) -> None:
        try:
            answer: Callable[[Head, bytes], tuple[Head, bytes]] = getattr(self, f"_answer_{head['ask']}")
            reply, content = answer(head, body)
        except TensorFlowError as error:
            reply, content = {"code": error.code, "error": str(error)}, b""
        except ArchiveError as error:
            reply, content = {"code": "NO_ARCHIVE", "error": str(error)}, b""
        except Exception as error:  # noqa: BLE001  whatever it is, the front must hear of it
            traceback.print_exc()
            reply, content = {"code": "INTERNAL", "error": f"{type(error).__name__}: {error}"}, b""
        self._front.reply(number, reply, content)

    def _answer_estimate(self, head: Head, _body: bytes) -> tuple[Head, bytes]:
        _, directory = versions(Path(head["directory"]))[-1]
        need = estimate(directory)
        return {"bytes": need.bytes, "fingerprint": need.fingerprint}, b""

    def _answer_load(self, head: Head, _body: bytes) -> tuple[Head, bytes]:
        version, directory = versions(Path(head["directory"]))[-1]  # like TensorFlow Serving: the highest number
        self._model = SavedModel(self._library, directory, config=self._session_config())
        return {"version": version, "signatures": sorted(self._model.signatures)}, b""

    def _answer_invoke(self, _head: Head, body: bytes) -> tuple[Head, bytes]:
        if self._model is None:
            raise TensorFlowError("FAILED_PRECONDITION", "the model is not loaded")
        return {}, rest.predict(self._model, body)

    def _session_config(self) -> bytes:
        threads = self._config.threads or 0  # 0: TensorFlow's default
        config: Any = protos.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
        serialised: bytes = config.SerializeToString()
        return serialised
