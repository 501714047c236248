"""`fits=n`: the memory in which exactly n of the given archives are resident at once, measured."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import filelock
import psutil

from pytest_mme.archives.archive import extract
from pytest_mme.archives.code import digest, files_of
from pytest_mme.archives.store import sha256
from pytest_mme.errors import FitsError
from pytest_mme.models.builder import Model
from pytest_mme.models.json_values import to_json
from pytest_mme.models.known_answers import key_of
from pytest_mme.runtimes.base import Running, Runtime
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.timeline.events import Timeline
from pytest_mme.waiting import wait_for

_MIB = 1024 * 1024
_REST_S, _SAMPLED_EVERY_S = 30.0, 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What one archive needs once it is loaded and has replied to one request, where the kit knows what to send.

    An archive of which no prediction is known is only loaded: what its first prediction allocates is not included.
    """

    bytes: int
    """Its memory, in bytes."""
    idle_bytes: int
    """What the server itself uses of the limit that its models share."""
    fingerprint: str | None
    """The server's fingerprint of the archive's content, where it has one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """A memory limit, and what it was derived from."""

    memory_mib: float
    known_bytes: Mapping[str, int]
    """What each archive needs, by its fingerprint."""


class Measurements:
    """Measures what archives cost on a runtime, and keeps that in *directory* from run to run."""

    def __init__(self, directory: Path, runtime: Runtime) -> None:
        self._directory, self._runtime = directory, runtime

    def fit(self, n: int, models: Sequence[Model], spec: ServerSpec) -> Fit:
        """The memory half-way between what the *n* largest archives need and what the *n* + 1 smallest need.

        Raises `FitsError` when the latter need no more, ValueError when *n* is not a number of archives.
        """
        if not isinstance(n, int) or not 1 <= n <= len(models):
            raise ValueError(f"fits={n!r}: give a number from 1 to {len(models)}, the number of archives")
        costs = self._costs(models, spec)
        ordered = sorted(cost.bytes for cost in costs)
        idle = max(cost.idle_bytes for cost in costs)
        lower = idle + sum(ordered[-n:])
        upper = idle + sum(ordered[: n + 1]) if n < len(models) else lower + ordered[0]
        if upper <= lower:
            raise FitsError(n, {model.name: cost.bytes / _MIB for model, cost in zip(models, costs, strict=True)})
        known = {cost.fingerprint: cost.bytes for cost in costs if cost.fingerprint}
        return Fit(memory_mib=(lower + upper) / 2 / _MIB, known_bytes=known)

    def _costs(self, models: Sequence[Model], spec: ServerSpec) -> list[Cost]:
        """The cost of each, measured on one server without a limit where it is not known yet; only one run measures."""
        self._directory.mkdir(parents=True, exist_ok=True)
        paths = [self._path(model, spec) for model in models]
        with filelock.FileLock(self._directory / "measuring.lock"):
            unknown = {path: model for path, model in zip(paths, models, strict=True) if not path.exists()}
            if unknown:
                self._measure(unknown, spec)
        return [Cost(**json.loads(path.read_text())) for path in paths]

    def _path(self, model: Model, spec: ServerSpec) -> Path:
        content = model.spec.digest if model.spec else f"{sha256(model.archive)}{[*map(key_of, model.examples[:1])]}"
        code = "" if spec.code is None else digest(files_of(Path(spec.code)))
        described = f"{self._runtime.identity(spec)}/{spec.oom}/{spec.cpus}/{spec.device}/{sorted(spec.env.items())}/{code}/{content}"
        return self._directory / f"{hashlib.sha256(described.encode()).hexdigest()[:32]}.json"

    def _measure(self, unknown: Mapping[Path, Model], spec: ServerSpec) -> None:
        memory_mib = psutil.virtual_memory().total / _MIB
        roomy = dataclasses.replace(spec, memory_mib=memory_mib, admission="none", share="private")
        timeline = Timeline()
        with self._runtime.run(roomy, name="measuring", timeline=timeline) as server:
            for path, model in unknown.items():
                cost = _measure(server, model, spec, timeline)
                draft = path.with_suffix(".tmp")
                draft.write_text(json.dumps(dataclasses.asdict(cost)))
                draft.replace(path)


def _at_rest(server: Running) -> int:
    """The memory that the server uses once it has freed what was unloaded, in bytes."""
    seen: list[int] = []

    def falls_no_more() -> int | None:
        seen.append(server.used_bytes())
        return seen[-1] if len(seen) > 1 and seen[-2] - seen[-1] < _MIB else None

    if server.dialect.frees_at_unload:
        return server.used_bytes()
    return wait_for(falls_no_more, what="memory at rest", timeout_s=_REST_S, every_s=_SAMPLED_EVERY_S)


def _measure(server: Running, model: Model, spec: ServerSpec, timeline: Timeline) -> Cost:
    """Load it into the empty server, send it one request, and measure what that needs."""
    identifier = uuid.uuid4().hex
    folder = server.models / identifier
    extract(model.archive, folder)
    idle = _at_rest(server)
    server.client.load(identifier, server.place(folder)).expect(f"load of {model.name}")
    if model.examples:
        reply = server.client.invoke(identifier, to_json({"instances": [model.examples[0]]}).encode())
        if model.spec is not None and not model.spec.code and spec.code is None:  # user code may refuse this instance
            reply.expect(f"invoke of {model.name}")
    used = server.used_bytes()
    server.client.unload(identifier).expect(f"unload of {model.name}")
    server.catch_up()
    loads = [event for event in timeline if event.kind == "load" and event.model == identifier]
    fingerprint = loads[-1].detail.get("fingerprint") if loads else None
    return Cost(bytes=max(used - idle, 1), idle_bytes=idle, fingerprint=fingerprint)
