"""The zygote: a process that has opened TensorFlow's libraries and forks one worker per model.

It also starts the processes that run users' handlers, each a fresh Python: one process kills every child, reaps it and
reports how it ended.

A fork of the zygote replies to its first request ten times sooner than a process that starts afresh, and holds a tenth
of the private memory. The zygote itself never loads or runs a model: forking after that hangs (docs/facts.md). It has
one thread, and nothing else reaps.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mme.serving.processes.child_config import ChildConfig

if TYPE_CHECKING:
    import psutil

    from pytest_mme.libtensorflow.capi import Library

_MESSAGE_BYTES = 65536
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_HANDLER = "PYTEST_MME_HANDLER"
"""The variable that names, in the environment of every process that a handler starts, that handler."""


class Zygote:
    """The forking loop, run in the zygote's own process."""

    def __init__(self, control: socket.socket, library: Library, handlers_environment: Mapping[str, str]) -> None:
        self._control, self._library, self._handlers_environment = control, library, handlers_environment
        self._wake, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._children: dict[int, ChildConfig] = {}

    def run(self) -> None:
        """Fork and reap until the front hangs up; then kill what is left."""
        import selectors

        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ, self._take_order)
            selector.register(self._wake, selectors.EVENT_READ, self._reap)
            while True:
                for key, _ in selector.select():
                    if key.data() is False:
                        self._kill_all()
                        return

    def _take_order(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 1)
        if not message:
            return False
        match json.loads(message):
            case {"kill": pid} if pid in self._children:  # not reaped yet, so the number is still its own
                os.kill(pid, signal.SIGKILL)
            case {"fork": settings}:
                self._fork(ChildConfig(**settings), descriptors[0])
        return True

    def _fork(self, config: ChildConfig, descriptor: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            os.close(descriptor)
            self._report(forked=config.token, error=str(error))
            return
        if pid == 0:
            self._become_child(config, descriptor)
        os.close(descriptor)
        self._children[pid] = config
        self._report(forked=config.token, pid=pid)

    def _become_child(self, config: ChildConfig, descriptor: int) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for inherited in (self._control, self._wake, self._waker):
                inherited.close()
            _die_with_parent()
            if config.cgroup_procs:
                Path(config.cgroup_procs).write_text("0")
            if config.oom_score_adj is not None:
                Path("/proc/self/oom_score_adj").write_text(str(config.oom_score_adj))
            self._work(config, descriptor)
            status = 0
        except BaseException:  # noqa: BLE001  this process ends: the log must say why
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)  # never back into the zygote's loop

    def _work(self, config: ChildConfig, descriptor: int) -> None:
        if config.kind == "handler":
            os.setsid()  # a terminal's Ctrl-C is the front's, which drains
            os.set_inheritable(descriptor, True)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            program = [sys.executable, "-u", "-m", "pytest_mme.serving.processes.handler", str(descriptor)]
            os.execve(sys.executable, program, {**self._handlers_environment, _HANDLER: str(config.token)})
        from pytest_mme.serving.processes.worker import Worker

        Worker(config, socket.socket(fileno=descriptor), self._library).run()

    def _reap(self) -> bool:
        self._wake.recv(4096)
        ended = []
        with contextlib.suppress(ChildProcessError):  # there are no children
            while (reaped := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = reaped
                if pid in self._children:  # and not an orphan
                    ended.append((pid, self._children.pop(pid), status))
        if any(config.kind == "handler" for _, config, _ in ended):
            self._end_orphans()
        for pid, _, status in ended:
            self._report(exited=pid, code=os.waitstatus_to_exitcode(status))
        return True

    def _end_orphans(self) -> None:
        """Kill the processes that handlers have started and left behind: the zygote inherited them.

        Each names its handler in its environment; a process whose handler is gone is killed.
        """
        import psutil  # only where there are handlers

        living = {str(config.token) for config in self._children.values()}
        while orphans := [
            child
            for child in psutil.Process().children()
            if child.pid not in self._children and _handler_of(child) not in living
        ]:
            for orphan in orphans:
                orphan.kill()
                os.waitpid(orphan.pid, 0)

    def _report(self, **fields: Any) -> None:
        with contextlib.suppress(ConnectionError):  # the front is gone: `_take_order` sees it next
            self._control.send(json.dumps(fields).encode())

    def _kill_all(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        for pid in self._children:
            os.waitpid(pid, 0)
        self._children.clear()
        self._end_orphans()


def _handler_of(process: psutil.Process) -> str | None:
    """The token of the handler that a process descends from; None when its environment names none."""
    import psutil

    try:
        return process.environ().get(_HANDLER)
    except psutil.Error:  # it is ending
        return None


def _die_with_parent() -> None:
    """Have the kernel kill this process when the zygote ends, even if it is stopped or stuck."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _handlers_environment(before: Mapping[str, str | None]) -> dict[str, str]:
    """The server's own environment: the zygote's, with the values that *before* holds put back."""
    merged = {**os.environ, **before}
    environment = {name: value for name, value in merged.items() if value is not None}
    for name in ("no_proxy", "NO_PROXY"):  # the model that a handler calls is on this machine
        environment[name] = ",".join(filter(None, (environment.get(name), "127.0.0.1", "::1", "localhost")))
    return environment


def main(control_fd: int, directory: str, before: str) -> None:
    """Open TensorFlow, report its version, and fork on demand."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to the front, which ends us
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    control = socket.socket(fileno=control_fd)
    from pytest_mme.libtensorflow.capi import Library

    library = Library(Path(directory) if directory else None)
    import pytest_mme.serving.processes.worker  # noqa: F401, RUF100  imported before the fork, so that workers share its pages

    zygote = Zygote(control, library, _handlers_environment(json.loads(before)))
    control.send(json.dumps({"ready": library.version}).encode())
    zygote.run()
    os._exit(0)  # unmapping TensorFlow in good order takes 0.2 s and changes nothing


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
