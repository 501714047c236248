"""What is told of a container by looking at it, and by hearing what its engine says of it."""

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
    """Its time passes when a test says so."""

    passed_s = 0.0

    def now_s(self) -> float:
        return self.passed_s


class Scene:
    """What there is to see of a container, as a test sets it."""

    def __init__(self, *, kills: int | None = 0, every_s: float = 0.005) -> None:
        self.every_s = every_s
        self.used, self.killed = 0, kills
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
        """Until all has been looked at that was so when this was called."""
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


def told(timeline: Timeline, kind: str) -> list[Event]:
    return [event for event in timeline if event.kind == kind]


def await_told(timeline: Timeline, kind: str, number: int = 1) -> list[Event]:
    def enough() -> list[Event] | None:
        found = told(timeline, kind)
        return found if len(found) >= number else None

    return wait_for(enough, what=f"{number} {kind}", timeout_s=SOON_S)


def ends_soon(call: Callable[[], object]) -> bool:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(timeout=SOON_S)
    return not thread.is_alive()


# Memory


def test_a_sample_says_what_is_used_and_what_may_be(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    scene.used = 100 * MIB
    sampling(scene)
    (sample,) = await_told(timeline, "sample")
    assert (sample.source, sample.server) == ("probe", "s")
    assert sample.detail == {"used_bytes": 100 * MIB, "limit_bytes": 300 * MIB}


@pytest.mark.parametrize(
    ("change", "told_of"), [(MIB, True), (-MIB, True), (MIB - 1, False), (1 - MIB, False), (0, False)]
)
def test_memory_is_told_of_when_it_has_changed_by_a_mebibyte(
    sampling: Sampling, timeline: Timeline, change: int, told_of: bool
) -> None:
    scene = Scene()
    scene.used = 100 * MIB
    sampler = sampling(scene)
    sampler.catch_up()
    scene.used += change
    sampler.catch_up()
    used = [event.detail["used_bytes"] for event in told(timeline, "sample")]
    assert used == [100 * MIB, *([100 * MIB + change] if told_of else [])]


def test_memory_that_grows_little_by_little_is_told_of(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    for used in (600_000, 1_200_000, 1_800_000, 2_400_000):
        scene.used = used
        sampler.catch_up()
    assert [event.detail["used_bytes"] for event in told(timeline, "sample")] == [1_200_000, 2_400_000]


# Kills that the kernel counts


def test_a_kill_is_told_of_with_the_model_whose_process_leaves_a_round_later(
    sampling: Sampling, timeline: StillTimeline
) -> None:
    scene = Scene()
    sampling(scene)
    scene.kill()
    scene.await_a_whole_round()
    timeline.passed_s = 1.5
    scene.await_a_whole_round()
    assert told(timeline, "oom") == []
    del scene.table[7]
    (oom,) = await_told(timeline, "oom")
    assert (oom.source, oom.server, oom.model, oom.outcome) == ("engine", "s", "ranking", "SIGKILL")
    assert oom.at_s == 0.0


def test_a_kill_is_told_of_with_the_model_whose_process_has_left_when_it_is_counted(
    sampling: Sampling, timeline: Timeline
) -> None:
    scene = Scene()

    def die() -> None:  # between one look at the processes and the next
        if scene.killed == 0 and scene.looks > 1:
            del scene.table[7]
            scene.kill()

    scene.meanwhile = die
    sampling(scene)
    (oom,) = await_told(timeline, "oom")
    assert oom.model == "ranking"


def test_a_dead_process_that_nobody_has_waited_for_counts_as_gone(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampling(scene)
    scene.kill()
    scene.table[7] = ""
    (oom,) = await_told(timeline, "oom")
    assert oom.model == "ranking"


def test_each_of_two_kills_is_told_of_with_its_own_model(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.kill()
    scene.kill()
    scene.table = {1: "python serve"}
    await_told(timeline, "oom", 2)
    sampler.catch_up()
    assert sorted(str(event.model) for event in told(timeline, "oom")) == ["fraud", "ranking"]


def test_a_process_that_leaves_unkilled_is_not_told_of(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    del scene.table[7]
    sampler.catch_up()
    assert told(timeline, "oom") == []


def test_one_kill_is_told_of_once_when_two_models_leave(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.kill()
    scene.table = {1: "python serve"}
    await_told(timeline, "oom")
    sampler.catch_up()
    assert len(told(timeline, "oom")) == 1


def test_kills_from_before_are_not_told_of(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene(kills=3)
    sampler = sampling(scene)
    del scene.table[7]
    sampler.catch_up()
    assert told(timeline, "oom") == []


def test_a_kill_that_no_model_left_by_is_told_of_without_one_after_a_while(
    sampling: Sampling, timeline: StillTimeline
) -> None:
    scene = Scene()
    sampling(scene)
    scene.kill()
    del scene.table[1]
    scene.await_a_whole_round()
    assert told(timeline, "oom") == []
    timeline.passed_s = LONG_S
    (oom,) = await_told(timeline, "oom")
    assert (oom.model, oom.outcome) == (None, "SIGKILL")
    assert oom.at_s == 0.0


def test_a_kill_in_a_shared_container_that_hit_none_of_ours_is_not_told_of(
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
    assert told(timeline, "oom") == []


def test_a_kill_in_a_shared_container_that_hit_one_of_ours_is_told_of(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampling(scene, shared=True)
    scene.kill()
    del scene.table[7]
    (oom,) = await_told(timeline, "oom")
    assert oom.model == "ranking"


# Kills that the engine tells of


def test_where_kills_are_not_counted_those_that_the_engine_tells_of_are(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene(kills=None)
    sampler = sampling(scene)
    sampler.kill_told()
    scene.await_a_whole_round()
    assert told(timeline, "oom") == []
    del scene.table[7]
    (oom,) = await_told(timeline, "oom")
    assert (oom.model, oom.outcome) == ("ranking", "SIGKILL")
    del scene.table[8]
    sampler.catch_up()
    assert len(told(timeline, "oom")) == 1


def test_where_kills_are_counted_what_the_engine_tells_of_is_not_counted_again(
    sampling: Sampling, timeline: Timeline
) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.kill()
    sampler.kill_told()
    scene.table = {1: "python serve"}
    await_told(timeline, "oom")
    sampler.catch_up()
    assert len(told(timeline, "oom")) == 1


def test_a_kill_that_the_engine_tells_of_is_looked_for_at_once(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene(kills=None, every_s=LONG_S)
    sampler = sampling(scene)
    del scene.table[7]
    sampler.kill_told()
    (oom,) = await_told(timeline, "oom")
    assert oom.model == "ranking"


def test_after_a_round_in_a_hurry_the_probe_is_asked_no_oftener_than_it_may_be(sampling: Sampling) -> None:
    scene = Scene(kills=None, every_s=LONG_S)
    sampling(scene).kill_told()
    wait_for(lambda: scene.looks == 2 or None, what="the round in a hurry", timeout_s=SOON_S)
    assert not threading.Event().wait(timeout=0.05)
    assert scene.looks == 2


# To catch up


def test_who_catches_up_waits_for_a_killed_process_to_leave(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.leaves_at_look[7] = scene.looks + 10
    scene.kill()
    sampler.catch_up()
    assert [event.model for event in told(timeline, "oom")] == ["ranking"]


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


def test_who_catches_up_does_not_trust_the_round_under_way(sampling: Sampling, timeline: Timeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    hold_late_in_a_round(scene, sampler)
    scene.used = 100 * MIB
    sampler.catch_up()
    assert [event.detail["used_bytes"] for event in told(timeline, "sample")] == [100 * MIB]


def test_who_catches_up_with_a_container_that_is_gone_does_not_wait(sampling: Sampling) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.removed = True
    sampler._thread.join(timeout=SOON_S)
    assert not sampler._thread.is_alive()
    assert ends_soon(sampler.catch_up)


def test_a_container_that_goes_frees_who_catches_up_with_it(sampling: Sampling) -> None:
    scene = Scene()
    sampler = sampling(scene)
    hold_late_in_a_round(scene, sampler)
    scene.removed = True
    assert ends_soon(sampler.catch_up)


# To close


def test_closing_waits_for_the_round_under_way(timeline: Timeline) -> None:
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
    """Carries a stream."""

    closed = False

    def close(self) -> None:
        self.closed = True


class Stream:
    """The engine's events, as a test sends them, until it is closed; then reading it fails with *failure*, if any."""

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
    """Tells of one container."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.asked = stream, dict[str, Any]()

    def events(self, **asked: Any) -> Stream:
        self.asked = asked
        return self.stream


class Container:
    """Is as a test sets it, which it shows when it is looked at again."""

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
    """A container, and what is told of it."""

    def __init__(self, timeline: Timeline, *, sampler: Sampler | None = None, failure: Exception | None = None) -> None:
        self.timeline, self.stream, self.container = timeline, Stream(failure), Container()
        self.engine = Engine(self.stream)
        self.watch = watch(self.engine, self.container, timeline, sampler)

    def end(self, code: int, *, out_of_memory: bool = False) -> None:
        """The container ends, and the engine tells of it."""
        self.container.end(code, out_of_memory=out_of_memory)
        self.stream.send("die", exitCode=str(code))

    def heard_out(self) -> list[Event]:
        """The ends that are on the timeline when all that the engine has told has been heard."""
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
    """An event that has not come by now does not come."""
    monkeypatch.setattr(events, "_TOLD_WITHIN_S", 0.01)


def test_only_events_of_this_container_are_asked_for(watching_it: Watching) -> None:
    assert watching_it().engine.asked == {"filters": {"container": "c0ffee"}, "decode": True}


@pytest.mark.parametrize(
    ("code", "out_of_memory", "kind"),
    [(0, False, "crash"), (1, False, "crash"), (137, False, "crash"), (1, True, "crash"), (137, True, "oom")],
)
def test_the_end_of_a_container_is_told_of(watching_it: Watching, code: int, out_of_memory: bool, kind: str) -> None:
    watched = watching_it()
    watched.end(code, out_of_memory=out_of_memory)
    (end,) = watched.heard_out()
    assert (end.kind, end.outcome, end.source, end.server, end.model) == (kind, f"exit {code}", "engine", "s", None)
    assert end.detail == {"what": "the container's first process, and with it all others", "models": "all"}


@pytest.mark.usefixtures("impatient")
def test_the_end_is_told_of_once(watching_it: Watching) -> None:
    watched = watching_it()
    watched.end(3)
    watched.stream.send("die", exitCode="3")
    watched.heard_out()
    watched.watch.catch_up()
    assert len(watched.ends()) == 1


@pytest.mark.usefixtures("impatient")
def test_an_expected_end_is_not_told_of(watching_it: Watching) -> None:
    watched = watching_it()
    watched.watch.expect_the_end()
    watched.end(137)
    watched.watch.catch_up()
    assert watched.heard_out() == []


@pytest.mark.usefixtures("impatient")
def test_an_expected_end_that_no_event_came_of_is_not_told_of(watching_it: Watching) -> None:
    watched = watching_it()
    watched.watch.expect_the_end()
    watched.container.end(137)
    watched.watch.catch_up()
    assert watched.heard_out() == []


def test_other_events_are_no_end(watching_it: Watching) -> None:
    watched = watching_it()
    for action in ("start", "kill", "exec_create: kill -9 7", "exec_die", "oom"):
        watched.stream.send(action, exitCode="1")
    assert watched.heard_out() == []


def test_an_event_that_nobody_waits_for_does_not_end_the_hearing(watching_it: Watching) -> None:
    watched = watching_it(sampler=None)
    watched.stream.send("oom")
    watched.end(1)
    assert [end.kind for end in watched.heard_out()] == ["crash"]


def test_a_kill_that_the_engine_tells_of_reaches_the_sampler(
    watching_it: Watching, sampling: Sampling, timeline: Timeline
) -> None:
    scene = Scene(kills=None)
    watched = watching_it(sampler=sampling(scene))
    watched.stream.send("oom")
    del scene.table[7]
    (oom,) = await_told(timeline, "oom")
    assert (oom.model, oom.outcome) == ("ranking", "SIGKILL")


def test_while_it_runs_who_catches_up_does_so_with_the_samples(
    watching_it: Watching, sampling: Sampling, timeline: Timeline
) -> None:
    scene = Scene()
    watched = watching_it(sampler=sampling(scene))
    scene.used = 100 * MIB
    watched.watch.catch_up()
    assert len(told(timeline, "sample")) == 1
    assert watched.ends() == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("out_of_memory", "kind"), [(False, "crash"), (True, "oom")])
def test_who_catches_up_tells_of_an_end_that_no_event_came_of(
    watching_it: Watching, out_of_memory: bool, kind: str
) -> None:
    watched = watching_it()
    watched.container.end(137, out_of_memory=out_of_memory)
    watched.watch.catch_up()
    assert [(end.kind, end.outcome) for end in watched.ends()] == [(kind, "exit 137")]
    watched.stream.send("die", exitCode="137")  # after all
    assert len(watched.heard_out()) == 1


@pytest.mark.usefixtures("impatient")
def test_who_catches_up_tells_of_a_container_that_has_been_removed(watching_it: Watching) -> None:
    watched = watching_it()
    watched.container.removed = True
    watched.watch.catch_up()
    assert [(end.kind, end.outcome) for end in watched.ends()] == [("crash", "removed")]


def test_who_catches_up_waits_for_the_event_of_the_end(watching_it: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_TOLD_WITHIN_S", LONG_S)
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
def test_closing_hangs_up_and_ends_the_hearing_quietly(watching_it: Watching, failure: Exception | None) -> None:
    watched = watching_it(failure=failure)
    watched.watch.close()
    assert not watched.watch._thread.is_alive()
    assert watched.stream._response.closed
    assert watched.ends() == []


def test_a_kill_is_told_though_the_container_goes_before_its_process_is_missed(
    sampling: Sampling, timeline: StillTimeline
) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.kill()
    scene.await_a_whole_round()
    scene.removed = True
    sampler.catch_up()
    assert [event.model for event in told(timeline, "oom")] == [None]


def test_a_kill_is_told_though_nobody_looks_on(sampling: Sampling, timeline: StillTimeline) -> None:
    scene = Scene()
    sampler = sampling(scene)
    scene.kill()
    scene.await_a_whole_round()
    sampler.close()
    assert [event.model for event in told(timeline, "oom")] == [None]
