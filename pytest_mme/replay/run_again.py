"""A bundle's servers, models, requests and faults, once more: on whatever runtime a run has."""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pytest_mme.errors import ContractError, MMEError, UnavailableError
from pytest_mme.hosting.endpoint import Endpoint
from pytest_mme.kit import Run
from pytest_mme.models.builder import Model
from pytest_mme.replay.bundle import Bundle, Made, marks
from pytest_mme.runtimes.server import Server
from pytest_mme.timeline.events import Event, Timeline
from pytest_mme.timeline.observed import requests

_MADE_OF_OTHERS = ("hogged", "chaos begins", "chaos", "kill missed", "paused missed", "slowed missed")
"""Faults that consist of requests and of faults that the timeline has one by one."""
Target = Server | Endpoint


@dataclasses.dataclass(frozen=True)
class Action:
    """Something that is done again; moments in seconds of the recorded timeline."""

    began_s: float
    ended_s: float
    do: Callable[[], object]


def rerun(bundle: Bundle, run: Run) -> tuple[Timeline, list[str]]:
    """What happens this time, and what could not be done again.

    Requests, loads, faults and checks are done in the recorded order: each begins when all are over that were over when
    it began, so that what overlapped may overlap again. Raises the kit's errors where a server does not start.
    """
    timeline, left_out = Timeline(), list[str]()
    with contextlib.ExitStack() as stack:
        models = {name: one.model(name, run.models) for name, one in bundle.models.items()}
        targets = {one.name: _start(one, models, run, timeline, stack) for one in bundle.made}
        others = sorted({event.server for event in bundle.timeline if event.server} - set(targets))
        left_out += [f"{name}, which is no server or endpoint of the bundle" for name in others]
        left_out += [f"a request of another boto3 client to {event.model}" for event in _of_other_clients(bundle)]
        actions = [
            action
            for event in bundle.timeline
            if event.server in targets
            for action in _actions(event, targets[event.server], models, run, stack, left_out)
        ]
        _perform(actions)
        for target in targets.values():
            _ = target.timeline  # the last events, too
    return timeline, left_out


def _of_other_clients(bundle: Bundle) -> list[Event]:
    """What the platform saw, and `endpoint.invoke` did not ask."""
    return [event for one in bundle.made for event in requests(bundle.of(one.name)) if event.kind == "attempt"]


def _start(one: Made, models: Mapping[str, Model], run: Run, timeline: Timeline, stack: contextlib.ExitStack) -> Target:
    if one.left_out:
        raise UnavailableError(
            f"{one.name} once more", f"{', '.join(one.left_out)} cannot be written down", "run the test itself again"
        )
    fields: dict[str, Any] = {**one.fields, "name": one.name}
    try:
        if one.kind == "server":
            return stack.enter_context(run.server(timeline=timeline, **fields))
        its = [models[name] for name in one.models]
        if one.kind == "handler":
            return stack.enter_context(run.handler(models=its, timeline=timeline, **fields))
        aws = stack.enter_context(run.aws())
        return stack.enter_context(run.endpoint(its, aws=aws, timeline=timeline, **fields))
    except (KeyError, TypeError, ValueError) as error:
        raise UnavailableError(
            f"{one.name} once more", f"{error}", "give back what it names, or use the kit that made it"
        ) from error


def _actions(
    event: Event,
    target: Target,
    models: Mapping[str, Model],
    run: Run,
    stack: contextlib.ExitStack,
    left_out: list[str],
) -> Iterator[Action]:
    """What an event of the recorded timeline was the result of."""
    model = models.get(event.model or "")
    if event.kind == "invoke" and event.source in ("test", "client") and model is not None:
        if "x" not in event.detail:
            left_out.append(f"a request to {model.name} whose instance was too large to be recorded")
            return
        x, options = event.detail["x"], event.detail.get("asked", {})
        yield Action(event.began_s, event.at_s, lambda: target.invoke(model, x, **options))
    elif event.kind in ("load", "unload") and event.source == "client" and isinstance(target, Server) and model:
        call = target.load if event.kind == "load" else target.unload
        yield Action(event.began_s, event.at_s, lambda: call(model))
    elif event in marks([event]):
        yield Action(event.at_s, event.at_s, lambda: _check(event, target))
    elif event.kind == "fault" and event.outcome not in _MADE_OF_OTHERS:
        yield from _fault(event, target, model, run, stack, left_out)


def _check(mark: Event, target: Target) -> None:
    """As the test made it; what it finds is a mark on the timeline."""
    arguments, options = mark.detail.get("arguments", ()), mark.detail.get("options", {})
    with contextlib.suppress(AssertionError):
        getattr(target, mark.outcome)(*arguments, **{**options, "soft": False})


def _fault(
    event: Event,
    target: Target,
    model: Model | None,
    run: Run,
    stack: contextlib.ExitStack,
    left_out: list[str],
) -> Iterator[Action]:
    faults, detail = run.faults(target), event.detail
    if event.outcome == "killed" and model is not None:
        yield Action(event.began_s, event.at_s, lambda: faults.kill(model))
        return
    again: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
        "paused": lambda: faults.paused(_some(model)),
        "slowed": lambda: faults.slowed(model, **detail),
        "cut": lambda: faults.cut(silently=bool(detail.get("silent"))),
        "stopped": lambda: faults.stopped(**detail),
        "squeezed": lambda: faults.squeezed(leave_mib=float(detail["leave_mib"])),
        "S3 slow": lambda: faults.s3_slow(**detail),
        "S3 failing": lambda: faults.s3_failing(**detail),
        "S3 truncated": faults.s3_truncated,
        "disk full": faults.disk_full,
        "ping failing": lambda: faults.ping_failing(**detail),
        "out of memory at load": lambda: faults.out_of_memory(_some(model), at="load"),
        "out of memory at predict": lambda: faults.out_of_memory(_some(model), at="predict"),
    }
    if event.outcome not in again:
        left_out.append(f"the fault {event.outcome!r}")
        return
    lasting = stack.enter_context(contextlib.ExitStack())
    yield Action(event.began_s, event.began_s, lambda: lasting.enter_context(again[event.outcome]()))
    yield Action(event.at_s, event.at_s, lasting.close)


def _some(model: Model | None) -> Model:
    assert model is not None
    return model


def _perform(actions: list[Action]) -> None:
    """Each when all are over that were over when it began."""
    under_way: list[tuple[float, int, Future[None]]] = []
    numbers = itertools.count()
    with ThreadPoolExecutor(len(actions) or 1, "again") as pool:  # as many as overlapped: none waits for a thread
        for action in sorted(actions, key=lambda one: (one.began_s, one.ended_s)):
            while under_way and under_way[0][0] <= action.began_s:
                heapq.heappop(under_way)[2].result()
            heapq.heappush(under_way, (action.ended_s, next(numbers), pool.submit(_do, action.do)))
        for _, _, future in under_way:
            future.result()


def _do(action: Callable[[], object]) -> None:
    """What is refused is an event, as it was then."""
    from botocore.exceptions import BotoCoreError, ClientError

    with contextlib.suppress(BotoCoreError, ClientError, ContractError, MMEError, KeyError, TypeError):
        action()
