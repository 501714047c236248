"""What is recorded of a container: by sampling it, and by following its engine's events."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from docker.errors import NotFound

from pytest_mme.runtimes.docker import events
from pytest_mme.runtimes.docker.events import Sampler, Watch
from pytest_mme.timeline.events import Event, Timeline
from pytest_mme.waiting import wait_for

MIB = 2**20
SOON_S = 5.0
LONG_S = 60.0
SERVED = "tensorflow_model_server --port=25001 --model_name=a1b2"  # the model "ranking"


class StillTimeline(Timeline):
    """A timeline whose time passes when a test sets it."""

    passed_s = 0.0

    def now_s(self) -> float:
        return self.passed_s


class Scene:
    """A probe: what can be seen of a container, as a test sets it."""

    def __init__(self, *, kills: int | None = 0, every_s: float = 0.005) -> None:
        self.every_s = every_s
        self.used, self.killed = 0, kills
        self.peak: int | None = None
        self.table = {1: "python serve", 7: SERVED, 8: "tensorflow_model_server --model_name=c3d4"}
        self.looks = 0
        self.leaves_at_look: dict[int, int] = {}
        self.removed = False
        self.first: Callable[[], object] = lambda: None
        """Called early in each round."""
        self.meanwhile: Callable[[], object] = lambda: None
        """Called late in each round."""

    def used_bytes(self) -> int:
        if self.removed:
            raise FileNotFoundError("the container is gone")
        return self.used

    def limit_bytes(self) -> int | None:
        return 300 * MIB

    def peak_bytes(self) -> int | None:
        return self.peak

    def kills(self) -> int | None:
        self.meanwhile()
        return self.killed

    def processes(self) -> Mapping[int, str]:
        self.first()
        left = [pid for pid, look in self.leaves_at_look.items() if self.looks >= look]
        seen = {pid: line for pid, line in self.table.items() if pid not in left}
        self.looks += 1
        return seen

    def kill(self) -> None:
        """The kernel counts one more kill."""
        self.killed = (self.killed or 0) + 1

    def await_a_whole_round(self) -> None:
        """Wait until everything has been sampled that is true now."""
        enough = self.looks + 2  # the next begins after now, and has ended when the second begins
        wait_for(lambda: self.looks > enough or None, what="a whole round", timeout_s=SOON_S)


@pytest.fixture
def timeline() -> StillTimeline:
    made = StillTimeline()
    made.name_model("a1b2", "ranking")
    made.name_model("c3d4", "fraud")
    return made


Sampling = Callable[..., Sampler]


@pytest.fixture
def sampling(timeline: Timeline) -> Iterator[Sampling]:
    with contextlib.ExitStack() as undo:

        def sampled(scene: Scene, *, shared: bool = False) -> Sampler:
            sampler = Sampler(scene, timeline, "s", shared=shared)
            undo.callback(sampler.close)
            wait_for(lambda: scene.looks or None, what="the first look", timeout_s=SOON_S)
            return sampler

        yield sampled


def recorded(timeline: Timeline, kind: str) -> list[Event]:
    return [event for event in timeline if event.kind == kind]


def await_recorded(timeline: Timeline, kind: str, number: int = 1) -> list[Event]:
    def enough() -> list[Event] | None:
        found = recorded(timeline, kind)
        return found if len(found) >= number else None

    return wait_for(enough, what=f"{number} {kind}", timeout_s=SOON_S)


def ends_soon(call: Callable[[], object]) -> bool:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(timeout=SOON_S)
    return not thread.is_alive()


# Memory


def test_a_sample_has_the_used_memory_and_the_limit(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    scene.used = 100 * MIB
    sampling(scene)
    (sample,) = await_recorded(timeline, "sample")
    assert (sample.source, sample.server) == ("probe", "s")
    assert sample.detail == {"used_bytes": 100 * MIB, "limit_bytes": 300 * MIB}


@pytest.mark.parametrize(
    ("change", "is_recorded"), [(MIB, True), (-MIB, True), (MIB - 1, False), (1 - MIB, False), (0, False)]
)
def test_memory_is_recorded_when_it_has_changed_by_a_mebibyte(
    sampling: Sampling, timeline: Timeline, change: int, is_recorded: bool
) -> None:
    scene = Scene()
    scene.used = 100 * MIB
    sampler = sampling(scene)
    sampler.catch_up()
    scene.used += change
    sampler.catch_up()
    used = [event.detail["used_bytes"] for event in recorded(timeline, "sample")]
    assert used == [100 * MIB, *([100 * MIB + change] if is_recorded else [])]


def test_memory_that_grows_in_small_steps_is_recorded(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    for used in (600_000, 1_200_000, 1_800_000, 2_400_000):
        scene.used = used
        sampler.catch_up()
    assert [event.detail["used_bytes"] for event in recorded(timeline, "sample")] == [1_200_000, 2_400_000]


def test_a_peak_that_no_sample_met_is_recorded(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    scene.used, scene.peak = 100 * MIB, 100 * MIB
    sampler = sampling(scene)
    sampler.catch_up()
    scene.peak = 300 * MIB
    sampler.catch_up()
    sampler.catch_up()
    assert [event.detail["peak_bytes"] for event in recorded(timeline, "sample")] == [100 * MIB, 300 * MIB]


# Kills that the kernel counts


def test_a_kill_is_recorded_with_the_model_whose_process_leaves_a_round_later(
    sampling: Sampling, timeline: StillTimeline
) -> None:
    scene = Scene()
    sampling(scene)
    scene.kill()
    scene.await_a_whole_round()
    timeline.passed_s = 1.5
    scene.await_a_whole_round()
    assert recorded(timeline, "oom") == []
    del scene.table[7]
    (oom,) = await_recorded(timeline, "oom")
    assert (oom.source, oom.server, oom.model, oom.outcome) == ("engine", "s", "ranking", "SIGKILL")
    assert oom.at_s == 0.0


def test_a_kill_is_recorded_with_the_model_whose_process_left_before_it_is_counted(
    sampling: Sampling, timeline: Timeline
) -> None:
    scene = Scene()

    def die() -> None:  # between one look at the processes and the next
        if scene.killed == 0 and scene.looks > 1:
            del scene.table[7]
            scene.kill()

    scene.meanwhile = die
    sampling(scene)
    (oom,) = await_recorded(timeline, "oom")
    assert oom.model == "ranking"


def test_a_zombie_counts_as_gone(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampling(scene)
    scene.kill()
    scene.table[7] = ""
    (oom,) = await_recorded(timeline, "oom")
    assert oom.model == "ranking"


def test_each_of_two_kills_is_recorded_with_its_own_model(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.kill()
    scene.kill()
    scene.table = {1: "python serve"}
    await_recorded(timeline, "oom", 2)
    sampler.catch_up()
    assert sorted(str(event.model) for event in recorded(timeline, "oom")) == ["fraud", "ranking"]


def test_a_process_that_ends_without_a_kill_is_not_recorded(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    del scene.table[7]
    sampler.catch_up()
    assert recorded(timeline, "oom") == []


def test_one_kill_is_recorded_once_when_two_models_leave(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.kill()
    scene.table = {1: "python serve"}
    await_recorded(timeline, "oom")
    sampler.catch_up()
    assert len(recorded(timeline, "oom")) == 1


def test_kills_before_the_first_sample_are_not_recorded(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene(kills=3)
    sampler = sampling(scene)
    del scene.table[7]
    sampler.catch_up()
    assert recorded(timeline, "oom") == []


def test_a_kill_is_recorded_without_a_model_when_none_leaves_in_time(
    sampling: Sampling, timeline: StillTimeline
) -> None:
    scene = Scene()
    sampling(scene)
    scene.kill()
    del scene.table[1]
    scene.await_a_whole_round()
    assert recorded(timeline, "oom") == []
    timeline.passed_s = LONG_S
    (oom,) = await_recorded(timeline, "oom")
    assert (oom.model, oom.outcome) == (None, "SIGKILL")
    assert oom.at_s == 0.0


def test_a_kill_in_a_shared_container_that_hit_another_tests_model_is_not_recorded(
    sampling: Sampling, timeline: StillTimeline
) -> None:
    scene = Scene()
    sampler = sampling(scene, shared=True)
    scene.kill()
    del scene.table[1]
    scene.await_a_whole_round()
    timeline.passed_s = LONG_S
    assert ends_soon(sampler.catch_up)
    del scene.table[7]  # leaves later, and unkilled
    sampler.catch_up()
    assert recorded(timeline, "oom") == []


def test_a_kill_in_a_shared_container_that_hit_this_tests_model_is_recorded(
    sampling: Sampling, timeline: Timeline
) -> None:
    scene = Scene()
    sampling(scene, shared=True)
    scene.kill()
    del scene.table[7]
    (oom,) = await_recorded(timeline, "oom")
    assert oom.model == "ranking"


# Kills that the engine tells of


def test_kills_that_the_engine_reports_are_recorded_where_none_are_counted(
    sampling: Sampling, timeline: Timeline
) -> None:
    scene = Scene(kills=None)
    sampler = sampling(scene)
    sampler.kill_reported()
    scene.await_a_whole_round()
    assert recorded(timeline, "oom") == []
    del scene.table[7]
    (oom,) = await_recorded(timeline, "oom")
    assert (oom.model, oom.outcome) == ("ranking", "SIGKILL")
    del scene.table[8]
    sampler.catch_up()
    assert len(recorded(timeline, "oom")) == 1


def test_a_kill_that_is_counted_and_reported_is_recorded_once(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.kill()
    sampler.kill_reported()
    scene.table = {1: "python serve"}
    await_recorded(timeline, "oom")
    sampler.catch_up()
    assert len(recorded(timeline, "oom")) == 1


def test_a_reported_kill_is_sampled_at_once(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene(kills=None, every_s=LONG_S)
    sampler = sampling(scene)
    del scene.table[7]
    sampler.kill_reported()
    (oom,) = await_recorded(timeline, "oom")
    assert oom.model == "ranking"


def test_after_an_early_round_the_probe_is_not_used_more_often_than_it_allows(sampling: Sampling) -> None:
    scene = Scene(kills=None, every_s=LONG_S)
    sampling(scene).kill_reported()
    wait_for(lambda: scene.looks == 2 or None, what="the round in a hurry", timeout_s=SOON_S)
    assert not threading.Event().wait(timeout=0.05)
    assert scene.looks == 2


# To catch up


def test_catching_up_waits_until_a_killed_process_has_left(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.leaves_at_look[7] = scene.looks + 10
    scene.kill()
    sampler.catch_up()
    assert [event.model for event in recorded(timeline, "oom")] == ["ranking"]


def hold_late_in_a_round(scene: Scene, sampler: Sampler) -> None:
    """Hold the sampler, which has seen the memory and the processes of this round, until somebody catches up.

    It takes its time to begin the next.
    """
    late, never = threading.Event(), threading.Event()

    def wait() -> None:
        scene.meanwhile = lambda: None
        scene.first = lambda: never.wait(timeout=0.1)
        late.set()
        wait_for(lambda: sampler._hurry or None, what="somebody who catches up", timeout_s=SOON_S)

    scene.meanwhile = wait
    assert late.wait(timeout=SOON_S)


def test_catching_up_does_not_rely_on_the_current_round(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    hold_late_in_a_round(scene, sampler)
    scene.used = 100 * MIB
    sampler.catch_up()
    assert [event.detail["used_bytes"] for event in recorded(timeline, "sample")] == [100 * MIB]


def test_catching_up_with_a_container_that_is_gone_does_not_wait(sampling: Sampling) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.removed = True
    sampler._thread.join(timeout=SOON_S)
    assert not sampler._thread.is_alive()
    assert ends_soon(sampler.catch_up)


def test_catching_up_ends_when_the_container_goes(sampling: Sampling) -> None:
    scene = Scene()
    sampler = sampling(scene)
    hold_late_in_a_round(scene, sampler)
    scene.removed = True
    assert ends_soon(sampler.catch_up)


# To close


def test_closing_waits_for_the_current_round(timeline: Timeline) -> None:
    scene = Scene()
    sampler = Sampler(scene, timeline, "s")
    inside, never = threading.Event(), threading.Event()

    def take_time() -> None:
        inside.set()
        never.wait(timeout=0.1)

    scene.meanwhile = take_time
    assert inside.wait(timeout=SOON_S)
    sampler.close()
    assert not sampler._thread.is_alive()


def test_closing_does_not_wait_for_the_next_round(timeline: Timeline) -> None:
    sampler = Sampler(Scene(every_s=LONG_S), timeline, "s")
    assert ends_soon(sampler.close)
    assert not sampler._thread.is_alive()


# What the engine says


class Connection:
    """The connection of a stream."""

    closed = False

    def close(self) -> None:
        self.closed = True


class Stream:
    """The engine's events, as a test sends them, until it is closed; reading it raises *failure* then, if there is one."""

    def __init__(self, failure: Exception | None = None) -> None:
        self._sent: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._response, self._failure = Connection(), failure

    def send(self, action: str, **attributes: str) -> None:
        self._sent.put({"Type": "container", "Action": action, "Actor": {"ID": "c0ffee", "Attributes": attributes}})

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (event := self._sent.get(timeout=LONG_S)) is not None:
            yield event
        if self._failure:
            raise self._failure

    def close(self) -> None:
        self._sent.put(None)


class Engine:
    """An engine that has events of one container."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.asked = stream, dict[str, Any]()

    def events(self, **asked: Any) -> Stream:
        self.asked = asked
        return self.stream


class Container:
    """A container in the state that a test sets, which `reload` makes visible."""

    id = "c0ffee"

    def __init__(self) -> None:
        self.state = {"Status": "running", "ExitCode": 0, "OOMKilled": False}
        self.attrs: dict[str, Any] = {"State": dict(self.state)}
        self.removed = False

    def end(self, code: int, *, out_of_memory: bool = False) -> None:
        self.state = {"Status": "exited", "ExitCode": code, "OOMKilled": out_of_memory}

    def reload(self) -> None:
        if self.removed:
            raise NotFound("No such container: c0ffee")
        self.attrs = {"State": dict(self.state)}


def watch(engine: Any, container: Any, timeline: Timeline, sampler: Sampler | None) -> Watch:
    return Watch(engine, container, timeline, "s", sampler=sampler)


class Watched:
    """A container, and what is recorded of it."""

    def __init__(self, timeline: Timeline, *, sampler: Sampler | None = None, failure: Exception | None = None) -> None:
        self.timeline, self.stream, self.container = timeline, Stream(failure), Container()
        self.engine = Engine(self.stream)
        self.watch = watch(self.engine, self.container, timeline, sampler)

    def end(self, code: int, *, out_of_memory: bool = False) -> None:
        """Let the container end, and the engine report it."""
        self.container.end(code, out_of_memory=out_of_memory)
        self.stream.send("die", exitCode=str(code))

    def recorded_ends(self) -> list[Event]:
        """The recorded ends, once all of the engine's events have been read."""
        self.watch.close()
        return self.ends()

    def ends(self) -> list[Event]:
        return [event for event in self.timeline if event.kind in ("crash", "oom")]


Watching = Callable[..., Watched]


@pytest.fixture
def watching_it(timeline: Timeline) -> Iterator[Watching]:
    with contextlib.ExitStack() as undo:

        def watched(**options: Any) -> Watched:
            made = Watched(timeline, **options)
            undo.callback(made.watch.close)
            return made

        yield watched


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for an event."""
    monkeypatch.setattr(events, "_EVENT_WITHIN_S", 0.01)


def test_only_events_of_this_container_are_requested(watching_it: Watching) -> None:
    assert watching_it().engine.asked == {"filters": {"container": "c0ffee"}, "decode": True}


@pytest.mark.parametrize(
    ("code", "out_of_memory", "kind"),
    [(0, False, "crash"), (1, False, "crash"), (137, False, "crash"), (1, True, "crash"), (137, True, "oom")],
)
def test_the_end_of_a_container_is_recorded(watching_it: Watching, code: int, out_of_memory: bool, kind: str) -> None:
    watched = watching_it()
    watched.end(code, out_of_memory=out_of_memory)
    (end,) = watched.recorded_ends()
    assert (end.kind, end.outcome, end.source, end.server, end.model) == (kind, f"exit {code}", "engine", "s", None)
    assert end.detail == {"what": "the container's first process, and with it all others", "models": "all"}


@pytest.mark.usefixtures("impatient")
def test_the_end_is_recorded_once(watching_it: Watching) -> None:
    watched = watching_it()
    watched.end(3)
    watched.stream.send("die", exitCode="3")
    watched.recorded_ends()
    watched.watch.catch_up()
    assert len(watched.ends()) == 1


@pytest.mark.usefixtures("impatient")
def test_an_expected_end_is_not_recorded(watching_it: Watching) -> None:
    watched = watching_it()
    watched.watch.expect_end()
    watched.end(137)
    watched.watch.catch_up()
    assert watched.recorded_ends() == []


@pytest.mark.usefixtures("impatient")
def test_an_expected_end_without_an_event_is_not_recorded(watching_it: Watching) -> None:
    watched = watching_it()
    watched.watch.expect_end()
    watched.container.end(137)
    watched.watch.catch_up()
    assert watched.recorded_ends() == []


def test_other_events_are_not_an_end(watching_it: Watching) -> None:
    watched = watching_it()
    for action in ("start", "kill", "exec_create: kill -9 7", "exec_die", "oom"):
        watched.stream.send(action, exitCode="1")
    assert watched.recorded_ends() == []


def test_an_oom_event_without_a_sampler_is_ignored(watching_it: Watching) -> None:
    watched = watching_it(sampler=None)
    watched.stream.send("oom")
    watched.end(1)
    assert [end.kind for end in watched.recorded_ends()] == ["crash"]


def test_a_kill_that_the_engine_reports_reaches_the_sampler(
    watching_it: Watching, sampling: Sampling, timeline: Timeline
) -> None:
    scene = Scene(kills=None)
    watched = watching_it(sampler=sampling(scene))
    watched.stream.send("oom")
    del scene.table[7]
    (oom,) = await_recorded(timeline, "oom")
    assert (oom.model, oom.outcome) == ("ranking", "SIGKILL")


def test_catching_up_with_a_running_container_waits_for_the_samples(
    watching_it: Watching, sampling: Sampling, timeline: Timeline
) -> None:
    scene = Scene()
    watched = watching_it(sampler=sampling(scene))
    scene.used = 100 * MIB
    watched.watch.catch_up()
    assert len(recorded(timeline, "sample")) == 1
    assert watched.ends() == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("out_of_memory", "kind"), [(False, "crash"), (True, "oom")])
def test_catching_up_records_an_end_without_an_event(watching_it: Watching, out_of_memory: bool, kind: str) -> None:
    watched = watching_it()
    watched.container.end(137, out_of_memory=out_of_memory)
    watched.watch.catch_up()
    assert [(end.kind, end.outcome) for end in watched.ends()] == [(kind, "exit 137")]
    watched.stream.send("die", exitCode="137")  # after all
    assert len(watched.recorded_ends()) == 1


@pytest.mark.usefixtures("impatient")
def test_catching_up_records_a_removed_container(watching_it: Watching) -> None:
    watched = watching_it()
    watched.container.removed = True
    watched.watch.catch_up()
    assert [(end.kind, end.outcome) for end in watched.ends()] == [("crash", "removed")]


def test_catching_up_waits_for_the_event_of_the_end(watching_it: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_EVENT_WITHIN_S", LONG_S)
    watched = watching_it()
    watched.container.end(1)
    looked_at = threading.Event()
    look = watched.container.reload

    def reload() -> None:
        look()
        looked_at.set()

    watched.container.reload = reload  # type: ignore[method-assign]
    catching_up = threading.Thread(target=watched.watch.catch_up, daemon=True)
    catching_up.start()
    assert looked_at.wait(timeout=SOON_S)
    watched.stream.send("die", exitCode="2")
    catching_up.join(timeout=SOON_S)
    assert [end.outcome for end in watched.ends()] == ["exit 2"]


@pytest.mark.parametrize("failure", [None, OSError("closed"), ValueError("closed"), AttributeError("read")], ids=repr)
def test_closing_ends_the_stream_and_its_thread_without_an_error(
    watching_it: Watching, failure: Exception | None
) -> None:
    watched = watching_it(failure=failure)
    watched.watch.close()
    assert not watched.watch._thread.is_alive()
    assert watched.stream._response.closed
    assert watched.ends() == []


def test_a_kill_is_recorded_though_the_container_goes_before_its_process_does(
    sampling: Sampling, timeline: StillTimeline
) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.kill()
    scene.await_a_whole_round()
    scene.removed = True
    sampler.catch_up()
    assert [event.model for event in recorded(timeline, "oom")] == [None]


def test_a_kill_is_recorded_though_sampling_has_ended(sampling: Sampling, timeline: StillTimeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.kill()
    scene.await_a_whole_round()
    sampler.close()
    assert [event.model for event in recorded(timeline, "oom")] == [None]
