"""One embedded server in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import psutil

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient
from pytest_mme.contract.dialects import CONTRACT
from pytest_mme.errors import ServerStartError, UnavailableError
from pytest_mme.runtimes import fill_memory
from pytest_mme.runtimes.base import STOP_S, Interceptable
from pytest_mme.runtimes.event_reader import EventReader
from pytest_mme.serving.config import UNAVAILABLE, ServingConfig
from pytest_mme.serving.logs import for_people, last_words
from pytest_mme.serving.memory import cgroups
from pytest_mme.timeline.events import Timeline

_STOP_S = 20.0
_LOG_LINES = 20
_NO_LIMIT = 2**62  # bytes
_AS_ROOT = "run as root, or in a delegated cgroup: then the kernel enforces it"


def _no_process(identifier: str) -> UnavailableError:
    return UnavailableError(f"the process of model {identifier}", "it has none that lives", "load the model first")


class LocalServer(Interceptable):
    """The process of an embedded server."""

    dialect = CONTRACT
    stopped = False

    def __init__(self, name: str, directory: Path, timeline: Timeline) -> None:
        self.name, self._directory, self._timeline = name, directory, timeline
        self._events = EventReader(timeline, name)
        self.models = directory / "models"
        self.models.mkdir()
        self.facts: Mapping[str, Any] = {}
        self._log_path = directory / "server.log"
        self._undo = contextlib.ExitStack()

    @property
    def controls(self) -> LocalServer:
        """This server itself: its process is a child of this one."""
        return self

    def start(self, fields: Mapping[str, Any], *, env: Mapping[str, str], start_s: float) -> None:
        """Start the process and wait for its first line; raises `ServerStartError`."""
        began = time.monotonic()
        temporary = self._directory / "tmp"  # user code may be killed before it cleans up
        temporary.mkdir()
        self._config = ServingConfig(**fields, lifeline_fd=0)
        self._environment = {**os.environ, "TMPDIR": str(temporary), **env}
        self._start_s = start_s
        self._live()
        self._timeline.record("start", source="engine", server=self.name, seconds=time.monotonic() - began)

    def _live(self) -> None:
        read_end, write_end = os.pipe()
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pytest_mme.serving", self._config.to_json(), str(write_end)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[write_end],
                env=self._environment,
                start_new_session=True,  # a terminal's Ctrl-C is pytest's to handle; it ends us after the fixtures
            )
        os.close(write_end)
        events = self._undo.enter_context(os.fdopen(read_end, "rb"))
        self._undo.callback(self._stop)
        self._await_first_line(events, self._start_s)
        self.facts = self._events.facts
        self.direct = ContractClient(routes.origin("127.0.0.1", self.facts["port"]))
        self._undo.callback(self.direct.close)
        reading = threading.Thread(target=self._read, args=(events,), name=f"events of {self.name}", daemon=True)
        reading.start()
        self._undo.callback(reading.join)
        self._undo.callback(self._stop)

    def _await_first_line(self, events: IO[bytes], start_s: float) -> None:
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        alarm = threading.Timer(start_s, give_up)
        alarm.daemon = True
        alarm.start()
        try:
            while not self._events.has_started and (line := events.readline()):
                self._events.read(line)  # code of the user's that is imported before it may print, too
        finally:
            alarm.cancel()
        if not self._events.has_started:
            code = self._process.wait()
            how = f"it was not up after {start_s:g} s" if late.is_set() else f"its process ended with code {code}"
            lines = for_people(self.log())
            if code == UNAVAILABLE and (said := last_words(lines)):
                raise ServerStartError(self.name, said)
            raise ServerStartError(self.name, how, "\n".join(lines[-_LOG_LINES:]))

    def _read(self, events: IO[bytes]) -> None:
        for line in events:
            self._events.read(line)
        self._events.end()

    def catch_up(self) -> None:
        """Return when everything that the server has seen until now is on the timeline."""
        self._events.catch_up(self.direct)

    def close(self) -> None:
        """End the process and read its last events. Closing twice is fine."""
        self._undo.close()

    def _stop(self) -> None:
        """Close the lifeline, which cuts off requests in flight: the test is over. Send SIGKILL if that is not enough."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def signal(self, identifier: str, name: str) -> None:
        """Send a signal to the worker of a model; `Controls.signal`."""
        try:
            self._worker(identifier).send_signal(getattr(signal, f"SIG{name}"))
        except psutil.NoSuchProcess as error:
            raise _no_process(identifier) from error

    def exhaust_memory(self, identifier: str, most_mib: int) -> None:
        """Use memory in the workers' cgroup until the kernel has killed a model's worker; `Controls.exhaust_memory`."""
        procs, worker = self._cgroup() / "cgroup.procs", self._worker(identifier)
        order = [sys.executable, fill_memory.__file__, str(worker.pid), str(most_mib), str(procs)]
        done = subprocess.run(order, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if fill_memory.lives(Path("/proc", str(worker.pid))):
            seen = (done.stderr.strip() or f"code {done.returncode}").splitlines()[-1]
            raise UnavailableError("the end of the memory", seen, "give the server a memory cgroup of its own")

    def _worker(self, identifier: str) -> psutil.Process:
        pid = self._events.pid(identifier, self.direct)
        try:
            living = {child.pid: child for child in psutil.Process(self._process.pid).children(recursive=True)}
            return living[pid or 0]
        except (KeyError, psutil.NoSuchProcess) as error:
            raise _no_process(identifier) from error

    def _cgroup(self) -> Path:
        """The workers' memory cgroup; raises `UnavailableError` where there is none."""
        if self.facts["cgroup"] is None:
            raise UnavailableError("another memory limit", f"it is enforced by {self.facts['enforcement']}", _AS_ROOT)
        return Path(self.facts["cgroup"])

    def limit_memory(self, limit_bytes: int) -> int:
        """Change the workers' limit and return the previous one, where the kernel enforces it: sampling cannot change it."""
        cgroup = cgroups.at(self._cgroup())
        try:
            before = cgroup.limit_bytes() or _NO_LIMIT
            cgroup.limit(limit_bytes)
        except OSError as error:
            asked = f"a memory limit of {limit_bytes} bytes"
            raise UnavailableError(asked, str(error), "leave it more than it uses, while it runs") from error
        return before

    def stop(self, grace_s: float = STOP_S) -> float:
        """Send SIGTERM, upon which it drains, and SIGKILL after *grace_s* seconds; return how many seconds it took."""
        began = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._undo.close()
        self.stopped = True
        seconds, code = time.monotonic() - began, self._process.returncode
        outcome = "ok" if code == 0 else f"exit {code}"
        self._timeline.record("stop", source="engine", server=self.name, outcome=outcome, seconds=seconds)
        return seconds

    def start_again(self) -> None:
        """Start it after a stop, at another port."""
        began = time.monotonic()
        self._live()
        self.stopped = False
        self._timeline.record("restart", source="engine", server=self.name, seconds=time.monotonic() - began)

    def place(self, folder: Path) -> str:
        """Return the same path: the server runs on this machine."""
        return str(folder)

    def log(self) -> str:
        """The standard output and error of the server, its zygote and its workers."""
        return self._log_path.read_text(errors="replace")

    def gone(self) -> str | None:
        """Its exit code; None while it runs."""
        code = self._process.poll()
        return None if code is None else f"the server's process ended with code {code}"

    def used_bytes(self) -> int:
        """The memory that the server's enforcement measures."""
        return int(self.direct.memory().json()["used_bytes"])
