"""A victim of faults that consists of notes: what was done to it, in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_mme import Model
from pytest_mme.contract.client import ContractClient, Reply
from pytest_mme.errors import UnavailableError
from pytest_mme.faults.lasting import Lasting
from pytest_mme.runtimes.base import Interceptable
from pytest_mme.timeline.events import Event, Timeline

MIB = 1024 * 1024
OK = Reply(200, b"{}", {}, 0.0)


class Client(ContractClient):
    """Answers everything with 200, and notes it; the body is read."""

    def __init__(self, done: list[str], url: str = "http://nowhere:8080") -> None:
        self.url, self._done = url, done

    def ask(self, method: str, path: str, body: Any = None, headers: Any = None, **_: Any) -> Reply:
        whole = body if isinstance(body, bytes | None) else b"".join(body)
        self._done.append(" ".join([method, path, *([whole.decode()] if whole else [])]))
        return Reply(200, whole or b"", headers or {}, 0.0)


class Controls:
    """Notes what is asked; refuses what it is told to."""

    def __init__(self, done: list[str]) -> None:
        self._done, self.limit, self.stopped, self.refused = done, 0, False, dict[str, Exception]()

    def _do(self, what: str) -> None:
        if error := self.refused.get(what):
            raise error
        self._done.append(what)

    def signal(self, identifier: str, name: str) -> None:
        self._do(f"{name} {identifier}")

    def exhaust_memory(self, identifier: str, most_mib: int) -> None:
        self._do(f"exhaust {identifier} {most_mib}")

    def limit_memory(self, limit_bytes: int) -> int:
        self._do(f"limit {limit_bytes / MIB:g}")
        before, self.limit = self.limit, limit_bytes
        return before

    def stop(self, grace_s: float = 0) -> float:
        self._do(f"stop {grace_s:g}")
        self.stopped = True
        return 1.5

    def start_again(self) -> None:
        self._do("start")
        self.stopped = False


class Running(Interceptable):
    """A server that uses 100 MiB."""

    def __init__(self, done: list[str]) -> None:
        self.name, self.done = "server-1", done
        self.direct, self.controls = Client(done), Controls(done)

    def used_bytes(self) -> int:
        return 100 * MIB


class Victim:
    """A server with the models a and b, whose ids are id-a and id-b."""

    name = "ranking"
    platform: Any = None

    def __init__(self, answer: Callable[[Model, Any], object] = lambda *_: None) -> None:
        self.done: list[str] = []
        self.running: Any = Running(self.done)
        self.recording = Timeline()
        self.in_effect: list[Lasting[Any]] = []
        self._answer = answer
        for name in "ab":
            self.recording.name_model(f"id-{name}", name)

    @property
    def controls(self) -> Controls:
        controls: Controls = self.running.controls
        return controls

    @property
    def faults(self) -> list[Event]:
        """The events of faults."""
        return [event for event in self.recording if event.kind == "fault"]

    def model(self, model: Model | str) -> Model:
        return Model(name=model, archive=Path("m.tar.gz")) if isinstance(model, str) else model

    def identifier(self, model: Model) -> str:
        return f"id-{model.name}"

    def invoke(self, model: Model, x: Any) -> Any:
        self.done.append(f"invoke {model.name} {x}")
        return self._answer(model, x)


def refusal(what: str = "that") -> UnavailableError:
    """What a runtime says to what it cannot do."""
    return UnavailableError(what, "it is not there", "do without")
