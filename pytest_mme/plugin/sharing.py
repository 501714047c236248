"""Servers and endpoints that live longer than a test: each test has its slice of them, and none inherits a broken one."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mme.errors import LeftBehindWarning, MMEError, NoAnswerError, NotReadyError, UnavailableError
from pytest_mme.plugin.evidence import evidence_of
from pytest_mme.waiting import wait_for

if TYPE_CHECKING:
    from pytest_mme.faults.lasting import Lasting
    from pytest_mme.hosting.endpoint import Endpoint
    from pytest_mme.models.builder import Model
    from pytest_mme.replay.bundle import Kind
    from pytest_mme.runtimes.server import Server
    from pytest_mme.runtimes.shared_timeline import SharedTimeline
    from pytest_mme.timeline.events import Event

_GRACE_S = 5.0
_SHARED: pytest.StashKey[list[Shared]] = pytest.StashKey()
_MAKING: pytest.StashKey[Making] = pytest.StashKey()
_TEST: pytest.StashKey[pytest.Item] = pytest.StashKey()


@dataclasses.dataclass(eq=False, kw_only=True)
class Shared:
    """A server or an endpoint that lives longer than a test, and how it was made."""

    kind: Kind
    target: Server | Endpoint
    fields: Mapping[str, Any]
    models: Sequence[Model]
    fixture: str
    """The name of the fixture that has made it."""
    recording: SharedTimeline
    loaded: Sequence[str] = ()
    """The models that tests find in memory, as the fixture that asked for the server has left it."""
    kept: Sequence[Lasting[Any]] = ()
    """The faults that fixtures have made: those of a longer scope are to stay."""
    left: LeftBehindWarning | None = None
    """In what state the test before has left it; None when it can be used."""

    def begin(self, test: pytest.Item) -> None:
        """Begin the slice of another test."""
        if self.left is not None:
            self._renew(self.left)
            self.left = None
        self.target.running.catch_up()
        if self.fixture in getattr(test, "fixturenames", ()):
            self.recording.begin(evidence_of(test).timeline)
            self._belong_to(test)
        else:  # it may ask for it by request.getfixturevalue
            from pytest_mme.timeline.events import Timeline

            self.recording.begin(Timeline(), on_use=lambda: self._belong_to(test))
        self.loaded, self.kept = self.recording.in_memory_before(), list(self.target.in_effect)

    def call(self) -> None:
        """Note what fixtures have made, now that the test itself begins."""
        self.kept = list(self.target.in_effect)
        if not self.recording.in_memory_before():  # it is the first test, for which the server was made
            self.loaded = self.recording.in_memory()

    def made_by(self, test: pytest.Item) -> None:
        """Let it belong to the test for which it was made."""
        evidence_of(test).add(self.kind, self.target, self.fields, self.models)

    def _belong_to(self, test: pytest.Item) -> None:
        """Let it be among the evidence of a test, from here on."""
        with contextlib.suppress(Exception):  # a log that cannot be read: the test itself will see that
            self.target.log_from_now()
        self.recording.show_in(evidence_of(test).timeline)
        self.made_by(test)

    def end(self, test: pytest.Item) -> LeftBehindWarning | None:
        """Note in what state a test has left it; return the warning where that is one that others cannot use."""
        if self.left is not None:  # it could not be renewed, which is not this test's doing
            return None
        self.target.running.catch_up()
        self.recording.end()
        if left := tuple(self._left()):
            self.left = LeftBehindWarning(test.nodeid, self.target.name, self.fixture, left)
        return self.left

    def _left(self) -> Iterator[str]:
        """What is wrong with it now."""
        for fault in self.target.in_effect:
            if fault in self.kept:
                continue
            yield f"the fault {fault.name} in effect"
        if gone := self._gone():
            yield f"a server that does not run ({gone})"
        for model in _dead(self.recording.of(self.target.name)):
            yield f"the process of {model} dead"

    def _gone(self) -> str | None:
        """Why the server does not run: one that has just been killed may not have ended yet, but does not reply any more."""
        running = self.target.running
        if running.gone() is None and not self.target.in_effect:  # a fault may hold up its replies
            try:
                running.direct.ping()
            except NoAnswerError as error:
                if not error.timed_out:
                    with contextlib.suppress(NotReadyError):
                        return wait_for(running.gone, what="its end", timeout_s=_GRACE_S)
                return "it does not reply to a ping"
        return running.gone()

    def _renew(self, left: LeftBehindWarning) -> None:
        """Make it as it was for the test before: faults undone, the server started again, its models loaded again.

        The platform of an endpoint loads models when they are asked for, and a handler loads its own.
        """
        from pytest_mme.faults.lasting import undo
        from pytest_mme.runtimes.base import controls_of
        from pytest_mme.runtimes.server import Server

        target = self.target
        started_again = "stopped" in undo(target, keep=self.kept) and target.running.gone() is None
        try:
            try:
                if not started_again:
                    controls = controls_of(target.running)
                    controls.stop(_GRACE_S)
                    controls.start_again()
            except UnavailableError:  # it is not the kit's to start again
                if why := target.running.gone():
                    raise UnavailableError(f"{target.name} once more", why, "start it again") from None
            if isinstance(target, Server):
                for name in self.loaded:
                    if name not in self.recording.in_memory():
                        target.load(name)
        except MMEError as error:
            pytest.fail(f"{target.name} could not be renewed, which {left.test} left behind: {error}", pytrace=False)


def _dead(events: Iterable[Event]) -> list[str]:
    """The models that were in memory, died and have not come back."""
    from pytest_mme.timeline.residency import DEATHS, changes

    events = list(events)
    latest = {change.model: change for change in changes(events)}
    dead = {name: None for name, one in latest.items() if not one.resident and one.event.kind in DEATHS}
    killed = {event.model: event.at_s for event in events if event.kind == "fault" and event.outcome == "killed"}
    for name, change in latest.items():  # the server may not have noticed yet
        if change.resident and change.event.at_s < killed.get(name, 0.0):
            dead[name] = None
    return list(dead)


class Making:
    """Knows which fixture is being made: what it starts with a factory for packages ends with it."""

    def __init__(self) -> None:
        self._fixtures: list[pytest.FixtureDef[Any]] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """Keep the fixture while it is being made."""
        self._fixtures.append(fixturedef)
        try:
            return (yield)
        finally:
            self._fixtures.pop()

    def of_a_package(self) -> pytest.FixtureDef[Any] | None:
        """The fixture that is being made, where a package is its scope."""
        latest = self._fixtures[-1] if self._fixtures else None
        return latest if latest is not None and latest.scope == "package" else None


def making(config: pytest.Config) -> Making:
    """What knows it, from the first call of this on: other sessions have no hook for each of their fixtures."""
    if _MAKING not in config.stash:
        config.stash[_MAKING] = Making()
        config.pluginmanager.register(config.stash[_MAKING], "mme-making")
    return config.stash[_MAKING]


def alive(config: pytest.Config) -> list[Shared]:
    """The servers and endpoints of this process that live longer than a test."""
    return config.stash.setdefault(_SHARED, [])


def test_of(config: pytest.Config) -> pytest.Item:
    """The test that runs, or whose fixtures are being made."""
    return config.stash[_TEST]


def begun(config: pytest.Config) -> SharedTimeline:
    """A timeline for a server that is about to start, shown in that of the test that runs."""
    from pytest_mme.runtimes.shared_timeline import SharedTimeline

    recording, timeline = SharedTimeline(), evidence_of(test_of(config)).timeline
    recording.begin(timeline)
    recording.show_in(timeline)
    return recording


@contextlib.contextmanager
def sharing(config: pytest.Config, shared: Shared) -> Iterator[None]:
    """Let tests share a server for the time of the block."""
    shared.made_by(test_of(config))
    alive(config).append(shared)
    try:
        yield
    finally:
        alive(config).remove(shared)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give the test its slice of what other tests have used before it."""
    item.config.stash[_TEST] = item
    for shared in alive(item.config):
        shared.begin(item)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Note what the fixtures of the test have made."""
    for shared in alive(item.config):
        shared.call()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """See in what state the test has left what the next one uses, too."""
    try:
        return (yield)
    finally:
        for warning in filter(None, [shared.end(item) for shared in alive(item.config)]):
            item.warn(warning)
