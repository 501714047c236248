"""The zygote: a process that has opened TensorFlow's libraries and forks one worker per model.

A fork of it answers its first request ten times sooner than a process that starts afresh, and holds a tenth of the
private memory. The zygote itself never loads or runs a model: forking after that hangs (docs/facts.md). It has one
thread, and it alone reaps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_mme.libtensorflow.capi import Library

_MESSAGE_BYTES = 65536


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What a worker is told when it is forked."""

    token: int
    """Names the fork in the zygote's reports, before its pid is known."""
    threads: int | None = None
    """Threads of its TensorFlow; None: one per core."""
    cgroup_procs: str | None = None
    """The file that a process writes "0" to in order to join the workers' memory cgroup."""
    allocator_slot: int | None = None
    """Its slot in the allocator budget (`allocator.py`)."""


class Zygote:
    """The forking loop, run in the zygote's own process."""

    def __init__(self, control: socket.socket, library: Library) -> None:
        self._control, self._library = control, library
        self._wake, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._children: dict[int, WorkerConfig] = {}

    def run(self) -> None:
        """Fork and reap until the front hangs up; then kill what is left."""
        import selectors

        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ, self._obey)
            selector.register(self._wake, selectors.EVENT_READ, self._reap)
            while True:
                for key, _ in selector.select():
                    if key.data() is False:
                        self._kill_all()
                        return

    def _obey(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 1)
        if not message:
            return False
        order = json.loads(message)
        if "kill" in order:
            if order["kill"] in self._children:  # not reaped yet, so the number is still its own
                os.kill(order["kill"], signal.SIGKILL)
        else:
            self._fork(WorkerConfig(**order["fork"]), descriptors[0])
        return True

    def _fork(self, config: WorkerConfig, descriptor: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            os.close(descriptor)
            self._report(forked=config.token, error=str(error))
            return
        if pid == 0:
            self._become_worker(config, descriptor)
        os.close(descriptor)
        self._children[pid] = config
        self._report(forked=config.token, pid=pid)

    def _become_worker(self, config: WorkerConfig, descriptor: int) -> None:
        from pytest_mme.serving.worker import work

        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for inherited in (self._control, self._wake, self._waker):
                inherited.close()
            work(config, socket.socket(fileno=descriptor), self._library)
            status = 0
        except BaseException:  # noqa: BLE001  it is the end of this process: the log must say of what
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)  # never back into the zygote's loop

    def _reap(self) -> bool:
        self._wake.recv(4096)
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            self._children.pop(pid)
            self._report(exited=pid, code=os.waitstatus_to_exitcode(status))
        return True

    def _report(self, **fields: Any) -> None:
        with contextlib.suppress(ConnectionError):  # the front is gone: `_obey` sees it next
            self._control.send(json.dumps(fields).encode())

    def _kill_all(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        for pid in self._children:
            os.waitpid(pid, 0)


def main(control_fd: int, directory: str) -> None:
    """Open TensorFlow, say so, and fork on demand."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to the front, which ends us
    control = socket.socket(fileno=control_fd)
    from pytest_mme.libtensorflow.capi import Library

    library = Library(Path(directory) if directory else None)
    import pytest_mme.serving.worker  # noqa: F401, RUF100  imported before the fork, so that workers share its pages

    zygote = Zygote(control, library)
    control.send(json.dumps({"ready": library.version}).encode())
    zygote.run()
    os._exit(0)  # unmapping TensorFlow in good order takes 0.2 s, and nobody is left to care


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
