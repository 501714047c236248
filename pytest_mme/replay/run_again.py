"""Run a bundle again, with its servers, models, requests, faults and checks, on any runtime."""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pytest_mme import answers, checks
from pytest_mme.errors import ContractError, MMEError, UnavailableError
from pytest_mme.faults.faults import Faults
from pytest_mme.hosting.endpoint import Endpoint
from pytest_mme.kit import Run
from pytest_mme.models.builder import Model
from pytest_mme.models.known_answers import KnownAnswers, Pair, Tolerances, key_of
from pytest_mme.replay.bundle import Bundle, Made
from pytest_mme.runtimes.server import Server
from pytest_mme.runtimes.shared_timeline import BEFORE
from pytest_mme.timeline.calls import call_text
from pytest_mme.timeline.events import Event, Timeline
from pytest_mme.timeline.observed import requests

Target = Server | Endpoint


@dataclasses.dataclass(frozen=True)
class Action:
    """A call that is made again; moments in seconds of the recorded timeline."""

    began_s: float
    ended_s: float
    do: Callable[[], object]


def rerun(bundle: Bundle, run: Run) -> tuple[Timeline, list[str]]:
    """Make the recorded calls again; gives the new timeline, and what was left out.

    Requests, loads, faults and checks begin in the recorded order, each when all those have ended that had ended before
    it, so that calls that overlapped may overlap again. Raises the kit's errors when a server does not start.
    """
    timeline, left_out = Timeline(), list[str]()
    with contextlib.ExitStack() as stack:
        models = {name: _with_answers(one.model(name, run.models), bundle) for name, one in bundle.models.items()}
        servers: dict[str, Server] = {}
        targets = {one.name: _start(one, servers, models, run, timeline, stack) for one in bundle.made}
        others = sorted({event.server for event in bundle.timeline if event.server} - set(targets))
        left_out += [f"{name}, which is not a server or endpoint of the bundle" for name in others]
        left_out += [
            f"{event.model} in the memory of {event.server} before the test began"
            for event in bundle.timeline
            if BEFORE in event.detail and event.source != "client" and event.server in targets
        ]
        left_out += [
            f"a request of another boto3 client to {event.model}"
            for one in bundle.made
            for event in requests(bundle.of(one.name))
            if event.kind == "attempt"
        ]
        actions = [
            action
            for event in bundle.timeline
            if event.server in targets
            for action in _actions(event, targets[event.server], servers, models, run, stack, left_out)
        ]
        _perform(actions)
        for target in targets.values():
            _ = target.timeline  # collect the last events
    return timeline, left_out


def _with_answers(model: Model, bundle: Bundle) -> Model:
    """A model that the kit did not build with the answers that the record has of it: all that is asked for again."""
    if model.spec is not None:
        return model
    known = {
        key_of(event.detail["x"]): (event.detail["x"], answers.recorded(event.detail["expected"]))
        for event in bundle.timeline
        if event.kind == "invoke" and event.model == model.name and {"x", "expected"} <= event.detail.keys()
    }
    if not known:
        return model
    one = next(iter(known.values()))[1]
    pairs = [Pair(x, answer.value) for x, answer in known.values()]
    return dataclasses.replace(model, known=KnownAnswers.of(pairs, Tolerances(one.tolerance, one.outputs)))


def _start(
    one: Made,
    servers: dict[str, Server],
    models: Mapping[str, Model],
    run: Run,
    timeline: Timeline,
    stack: contextlib.ExitStack,
) -> Target:
    """Start what a test had made; a server is put among *servers*, too, which take loads and unloads of the test."""
    if one.left_out:
        raise UnavailableError(
            f"{one.name} once more", f"{', '.join(one.left_out)} cannot be recorded", "run the test itself again"
        )
    fields: dict[str, Any] = {**one.fields, "name": one.name}
    try:
        if one.kind == "server":
            server = servers[one.name] = stack.enter_context(run.server(timeline=timeline, **fields))
            return server
        its = [models[name] for name in one.models]
        if one.kind == "handler":
            server = servers[one.name] = stack.enter_context(run.handler(models=its, timeline=timeline, **fields))
            return server
        aws = stack.enter_context(run.aws())
        return stack.enter_context(run.endpoint(its, aws=aws, timeline=timeline, **fields))
    except (KeyError, TypeError, ValueError) as error:
        raise UnavailableError(
            f"{one.name} once more", f"{error}", "give back what it names, or use the kit that made it"
        ) from error


def _actions(
    event: Event,
    target: Target,
    servers: Mapping[str, Server],
    models: Mapping[str, Model],
    run: Run,
    stack: contextlib.ExitStack,
    left_out: list[str],
) -> Iterator[Action]:
    """The calls whose result an event of the recorded timeline was."""
    model = models.get(event.model or "")
    if event.kind == "invoke" and event.source in ("test", "client") and model is not None:
        if "x" not in event.detail:
            left_out.append(f"a request to {model.name} whose instance was too large to be recorded")
            return
        x, options = event.detail["x"], event.detail.get("asked", {})
        yield Action(event.began_s, event.at_s, lambda: target.invoke(model, x, **options))
    elif event.kind in ("load", "unload") and event.source == "client" and model:
        server = servers[target.name]
        call = server.load if event.kind == "load" else server.unload
        yield Action(event.began_s, event.at_s, lambda: call(model))
    elif "call" not in event.detail:
        return
    elif event.kind == "mark" and event.detail["call"]["method"] in checks.__all__:
        yield Action(event.at_s, event.at_s, lambda: _check(event.detail["call"], target))
    elif event.kind == "fault":
        yield from _fault(event, run.faults(target), models, stack, left_out)


def _check(call: Mapping[str, Any], target: Target) -> None:
    """Make a check as the test made it; what it finds is recorded on the timeline."""
    with contextlib.suppress(AssertionError):
        getattr(target, call["method"])(*call["arguments"], **{**call["options"], "soft": False})


def _fault(
    event: Event, faults: Faults, models: Mapping[str, Model], stack: contextlib.ExitStack, left_out: list[str]
) -> Iterator[Action]:
    """Make a fault as the test made it; one that lasts begins and ends as it did."""
    call = event.detail["call"]
    fault = None if call["method"].startswith("_") else getattr(faults, call["method"], None)
    if fault is None or call["options"].get("model") not in (None, *models):
        left_out.append(f"the fault {call_text(call)}")
        return
    options = {name: models[value] if name == "model" and value else value for name, value in call["options"].items()}
    lasting = stack.enter_context(contextlib.ExitStack())

    def begin() -> None:
        made = fault(**options)
        if isinstance(made, contextlib.AbstractContextManager):
            lasting.enter_context(made)

    yield Action(event.began_s, event.began_s, begin)
    yield Action(event.at_s, event.at_s, lasting.close)


def _perform(actions: list[Action]) -> None:
    """Begin each action when all those have ended that had ended before it."""
    under_way: list[tuple[float, int, Future[None]]] = []
    numbers = itertools.count()
    with ThreadPoolExecutor(len(actions) or 1, "again") as pool:  # enough for all that overlap
        for action in sorted(actions, key=lambda one: (one.began_s, one.ended_s)):
            while under_way and under_way[0][0] <= action.began_s:
                heapq.heappop(under_way)[2].result()
            heapq.heappush(under_way, (action.ended_s, next(numbers), pool.submit(_do, action.do)))
        for _, _, future in under_way:
            future.result()


def _do(action: Callable[[], object]) -> None:
    """Make a call; its failure is recorded on the timeline, as it was then."""
    from botocore.exceptions import BotoCoreError, ClientError

    with contextlib.suppress(BotoCoreError, ClientError, ContractError, MMEError, KeyError, TypeError):
        action()
