"""The local runtime: the embedded server in a process of its own, no Docker."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient
from pytest_mme.contract.dialects import CONTRACT
from pytest_mme.errors import ServerStartError, UnavailableError
from pytest_mme.libtensorflow.toolchain import Toolchain
from pytest_mme.runtimes import fill_memory
from pytest_mme.runtimes.base import STOP_S, Reached, ServerSpec
from pytest_mme.runtimes.event_reader import Listener
from pytest_mme.runtimes.leases import CGROUPS
from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.logs import readable
from pytest_mme.serving.memory import cgroups
from pytest_mme.timeline.events import Timeline

_MIB = 1024 * 1024
_STOP_S = 20.0
_LOG_LINES = 20
_NO_LIMIT = 2**62  # bytes
MODEL_DIR = "SM_MODEL_DIR"
"""Names the folder with the models to the user's code. Source: the SageMaker inference toolkit's parameters."""
_AS_ROOT = "run as root, or in a delegated cgroup: then the kernel enforces it"


class LocalRuntime:
    """Starts embedded servers below a directory of the run."""

    name = "local"

    def __init__(
        self,
        directory: Path,
        *,
        toolchain: Toolchain,
        enforcement: str = "auto",
        device: str = "cpu",
        keep: bool = False,
    ) -> None:
        """*toolchain*: has the TensorFlow versions. *device*: where models run whose server does not say it.

        *keep*: leave each server's files below *directory*; otherwise they go with the server.
        """
        self._directory, self._toolchain = directory, toolchain
        self._enforcement, self._device, self._keep = enforcement, device, keep

    def identity(self, spec: ServerSpec) -> str:
        """Which TensorFlow, how its memory is limited, and where it runs."""
        tensorflow = self._toolchain.resolve(spec.tf)
        return f"local/tensorflow-{tensorflow}/{self._enforcement}/{spec.device or self._device}"

    @contextlib.contextmanager
    def run(
        self, spec: ServerSpec, *, name: str, timeline: Timeline, known_bytes: Mapping[str, int] | None = None
    ) -> Iterator[LocalServer]:
        """Start an embedded server; `Runtime.run`."""
        with self._run(spec, name, timeline, known_bytes=known_bytes or {}) as server:
            yield server

    @contextlib.contextmanager
    def host(
        self,
        inference: Path,
        place: Callable[[Path], Sequence[str]],
        spec: ServerSpec,
        *,
        name: str,
        timeline: Timeline,
    ) -> Iterator[LocalServer]:
        """Start a server whose models the `inference_handler` in a Python file loads; raises `ServerStartError`.

        *place* puts them into the folder that it is given, and gives their names.
        """
        with self._run(spec, name, timeline, place=place, inference=str(inference)) as server:
            yield server

    @contextlib.contextmanager
    def _run(
        self,
        spec: ServerSpec,
        name: str,
        timeline: Timeline,
        *,
        known_bytes: Mapping[str, int] | None = None,
        place: Callable[[Path], Sequence[str]] = lambda _: (),
        **more: Any,
    ) -> Iterator[LocalServer]:
        directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._directory))
        fields = {
            **_config_fields(spec, name, known_bytes or {}, self._enforcement, self._device),
            **more,
            "tensorflow": str(self._toolchain.directory(spec.tf)),
            "cgroup_name": f"pytest-mme-{self._directory.name}-{directory.name}",
            "cgroup_record": str(self._directory / CGROUPS),
        }
        with contextlib.ExitStack() as undo:
            if not self._keep:
                undo.callback(shutil.rmtree, directory, ignore_errors=True)
            server = LocalServer(name, directory, timeline)
            undo.callback(server.close)
            named = tuple(place(server.models))
            environment = {MODEL_DIR: str(server.models), **spec.env} if named else spec.env
            server.start({**fields, "named": named}, env=environment, start_s=spec.start_s)
            yield server


def _config_fields(
    spec: ServerSpec, name: str, known_bytes: Mapping[str, int], enforcement: str, device: str
) -> Mapping[str, Any]:
    return {
        "name": name,
        "memory_bytes": None if spec.memory_mib is None else int(spec.memory_mib * _MIB),
        "admission": spec.admission,
        "oom": spec.oom,
        "enforcement": enforcement,
        "cpus": spec.cpus,
        "device": spec.device or device,
        "gpu": spec.gpu,
        "gpu_memory_fraction": spec.gpu_memory_fraction,
        "drain_s": spec.drain_s,
        "grace_s": spec.grace_s,
        "code": None if spec.code is None else str(Path(spec.code).absolute()),
        "handler_requests": spec.handler_requests,
        "op_libraries": [str(Path(library).absolute()) for library in spec.op_libraries],
        "known_bytes": known_bytes,
    }


def _no_process(identifier: str) -> UnavailableError:
    return UnavailableError(f"the process of model {identifier}", "it has none that lives", "load the model first")


class LocalServer(Reached):
    """One embedded server's process."""

    dialect = CONTRACT

    def __init__(self, name: str, directory: Path, timeline: Timeline) -> None:
        self.name, self._directory, self._timeline = name, directory, timeline
        self._listener = Listener(timeline, name)
        self.models = directory / "models"
        self.models.mkdir()
        self.facts: Mapping[str, Any] = {}
        self._log_path = directory / "server.log"
        self._undo = contextlib.ExitStack()

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
        reading, writing = os.pipe()
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pytest_mme.serving", self._config.to_json(), str(writing)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[writing],
                env=self._environment,
                start_new_session=True,  # a terminal's Ctrl-C is pytest's to handle; it ends us after the fixtures
            )
        os.close(writing)
        events = self._undo.enter_context(os.fdopen(reading, "rb"))
        self._undo.callback(self._stop)
        self._await_first_line(events, self._start_s)
        self.facts = self._listener.facts
        self.direct = ContractClient(routes.origin("127.0.0.1", self.facts["port"]))
        self._undo.callback(self.direct.close)
        self._reader = threading.Thread(target=self._read, args=(events,), name=f"events of {self.name}", daemon=True)
        self._reader.start()
        self._undo.callback(self._hear_out)

    def _await_first_line(self, events: IO[bytes], start_s: float) -> None:
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        alarm = threading.Timer(start_s, give_up)
        alarm.daemon = True
        alarm.start()
        try:
            while not self._listener.has_begun and (line := events.readline()):
                self._listener.hear(line)  # user's code that is imported before may have died
        finally:
            alarm.cancel()
        if not self._listener.has_begun:
            code = self._process.wait()
            how = f"it was not up after {start_s:g} s" if late.is_set() else f"its process ended with code {code}"
            raise ServerStartError(self.name, how, self._log_end())

    def _read(self, events: IO[bytes]) -> None:
        for line in events:
            self._listener.hear(line)
        self._listener.end()

    def catch_up(self) -> None:
        """Return when all that the server has seen until now is on the timeline."""
        self._listener.catch_up(self.direct)

    def close(self) -> None:
        """End the process and read its last events. Closing twice is fine."""
        self._undo.close()

    def _hear_out(self) -> None:
        self._stop()
        self._reader.join()

    def _stop(self) -> None:
        """Close the lifeline: the test is over, so what is still in flight is cut off. SIGKILL if that is not enough."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def signal(self, identifier: str, name: str) -> None:
        """Send a signal to the worker of a model; `Running.signal`."""
        try:
            self._worker(identifier).send_signal(getattr(signal, f"SIG{name}"))
        except psutil.NoSuchProcess as error:
            raise _no_process(identifier) from error

    def exhaust_memory(self, identifier: str, most_mib: int) -> None:
        """Use up memory in the workers' cgroup until the kernel has killed a model's; `Running.exhaust_memory`."""
        procs, worker = self._cgroup() / "cgroup.procs", self._worker(identifier)
        order = [sys.executable, fill_memory.__file__, str(worker.pid), str(most_mib), str(procs)]
        done = subprocess.run(order, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if fill_memory.lives(Path("/proc", str(worker.pid))):
            seen = (done.stderr.strip() or f"code {done.returncode}").splitlines()[-1]
            raise UnavailableError("the end of the memory", seen, "give the server a memory cgroup of its own")

    def _worker(self, identifier: str) -> psutil.Process:
        pid = self._listener.pid(identifier, self.direct)
        try:
            living = {child.pid: child for child in psutil.Process(self._process.pid).children(recursive=True)}
            return living[pid or 0]
        except (KeyError, psutil.NoSuchProcess) as error:
            raise _no_process(identifier) from error

    def _cgroup(self) -> Path:
        """The workers' memory cgroup; `UnavailableError` where there is none."""
        if self.facts["cgroup"] is None:
            raise UnavailableError("another memory limit", f"it is enforced by {self.facts['enforcement']}", _AS_ROOT)
        return Path(self.facts["cgroup"])

    def limit_memory(self, limit_bytes: int) -> int:
        """Change the workers' limit; the one before. The kernel's only: sampling knows no other than it began with."""
        cgroup = cgroups.at(self._cgroup())
        try:
            before = cgroup.limit_bytes() or _NO_LIMIT
            cgroup.limit(limit_bytes)
        except OSError as error:
            asked = f"a memory limit of {limit_bytes} bytes"
            raise UnavailableError(asked, str(error), "leave it more than it uses, while it runs") from error
        return before

    def stop(self, grace_s: float = STOP_S) -> float:
        """SIGTERM, upon which it drains, and after *grace_s* seconds SIGKILL; how many seconds it took."""
        began = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._undo.close()
        seconds, code = time.monotonic() - began, self._process.returncode
        outcome = "ok" if code == 0 else f"exit {code}"
        self._timeline.record("stop", source="engine", server=self.name, outcome=outcome, seconds=seconds)
        return seconds

    def start_again(self) -> None:
        """Start it after a stop, at another port."""
        began = time.monotonic()
        self._live()
        self._timeline.record("restart", source="engine", server=self.name, seconds=time.monotonic() - began)

    def place(self, folder: Path) -> str:
        """The same path: the server lives on this machine."""
        return str(folder)

    def log(self) -> str:
        """Standard output and error of the server, its zygote and its workers."""
        return self._log_path.read_text(errors="replace")

    def _log_end(self) -> str:
        return "\n".join(map(readable, self.log().splitlines()[-_LOG_LINES:]))

    def gone(self) -> str | None:
        """The exit code, once it has ended."""
        code = self._process.poll()
        return None if code is None else f"the server's process ended with code {code}"

    def used_bytes(self) -> int:
        """What the server's enforcement measures."""
        return int(self.direct.memory().json()["used_bytes"])
