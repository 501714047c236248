"""What each fault does to its victim, in which order, and what it leaves on the timeline."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from pytest_mme import Model
from pytest_mme.contract.client import ContractClient
from pytest_mme.errors import NoAnswerError, UnavailableError
from pytest_mme.faults import chaos, faults, tcp_relay
from pytest_mme.faults.chaos import Schedule, Strike
from pytest_mme.faults.faults import Faults
from pytest_mme.models.known_answers import KnownAnswers, Pair, Tolerances
from pytest_mme.timeline.events import Event
from pytest_mme.waiting import wait_for
from tests.unit.faults.victim import MIB, Victim, refusal


class Clock:
    """Stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of faults."""
    made = Clock()
    monkeypatch.setattr(faults, "time", made)
    return made


@pytest.fixture
def victim() -> Victim:
    return Victim()


@pytest.fixture
def on(victim: Victim) -> Faults:
    """The faults of the victim."""
    return Faults(victim)


def seen(event: Event) -> tuple[str, str | None, float | None, dict[str, Any]]:
    """An event without the call that made it."""
    detail = {name: value for name, value in event.detail.items() if name != "call"}
    return event.outcome, event.model, event.seconds, detail


def test_a_kill_has_no_end(victim: Victim, on: Faults) -> None:
    on.kill("a")
    assert victim.done == ["KILL id-a"]
    (event,) = victim.faults
    assert (event.source, event.server, *seen(event)) == ("test", "server-1", "killed", "a", None, {})
    assert event.detail["call"] == {"method": "kill", "arguments": [], "options": {"model": "a"}}


def test_a_paused_model_continues_whatever_happens(victim: Victim, on: Faults, clock: Clock) -> None:
    with contextlib.suppress(ZeroDivisionError), on.paused("a"):
        assert victim.done == ["STOP id-a"]
        clock.now_s += 2.5
        _ = 1 / 0
    assert victim.done == ["STOP id-a", "CONT id-a"]
    assert list(map(seen, victim.faults)) == [("paused", "a", 2.5, {})]


def test_a_paused_model_may_die(victim: Victim, on: Faults) -> None:
    with on.paused("a"):
        victim.controls.refused["CONT id-a"] = refusal()
    assert [event.outcome for event in victim.faults] == ["paused"]


@pytest.mark.parametrize(("options", "limit_mib"), [({}, 108), ({"leave_mib": 0.5}, 100.5)])
def test_squeezed_gives_the_limit(victim: Victim, on: Faults, options: dict[str, float], limit_mib: float) -> None:
    with on.squeezed(**options) as given:
        assert given == limit_mib
    assert victim.done == [f"limit {limit_mib:g}", "limit 0"]
    (event,) = victim.faults
    assert event.outcome == "squeezed"
    assert event.detail["limit_bytes"] == limit_mib * MIB
    assert event.detail["leave_mib"] == options.get("leave_mib", 8)


def test_squeezed_never_raises_a_limit(victim: Victim, on: Faults) -> None:
    victim.controls.limit = 50 * MIB
    with on.squeezed() as given:
        assert given == 50


TRIED = ["limit 101", "limit 0"]


def test_memory_runs_out_at_the_loads_of_one_model(victim: Victim, on: Faults) -> None:
    with on.out_of_memory("a", at="load"):
        assert victim.done == TRIED
        victim.done.clear()
        for model in "ab":
            victim.running.client.load(f"id-{model}", "/m")
        victim.running.client.invoke("id-a", b"x")
    loads = [f'POST /models {{"model_name": "id-{model}", "url": "/m"}}' for model in "ab"]
    assert victim.done == ["limit 101", loads[0], "limit 0", loads[1], "POST /models/id-a/invoke x"]
    (event,) = victim.faults
    assert (event.outcome, event.model) == ("out of memory at load", "a")


def test_memory_runs_out_at_the_requests_of_one_model(victim: Victim, on: Faults) -> None:
    with on.out_of_memory("a", at="predict"):
        victim.done.clear()
        victim.running.client.load("id-a", "/m")
        victim.running.client.invoke("id-b", b"x")
        assert "STOP id-a" not in victim.done
        victim.running.client.invoke("id-a", b"x")
    assert victim.done[2:4] == ["STOP id-a", "limit 612"]
    assert "exhaust id-a 1024" in victim.done
    (event,) = victim.faults
    assert (event.outcome, event.model) == ("out of memory at predict", "a")


@pytest.mark.parametrize("at", ["load", "predict"])
def test_memory_that_cannot_run_out_is_an_error_at_once(victim: Victim, on: Faults, at: Any) -> None:
    victim.controls.refused["limit 101"] = refusal()
    with pytest.raises(UnavailableError), on.out_of_memory("a", at=at):
        pytest.fail("it was made all the same")


def test_memory_runs_out_at_two_moments(on: Faults) -> None:
    with (
        pytest.raises(ValueError, match=r"at='ping': memory runs out at 'load' or at 'predict'"),
        on.out_of_memory("a", at="ping"),  # type: ignore[arg-type]
    ):
        pytest.fail("it was made all the same")


@pytest.mark.parametrize(("options", "grace_s"), [({}, 30), ({"grace_s": 2}, 2)])
def test_a_stopped_server_is_started_again(
    victim: Victim, on: Faults, clock: Clock, options: dict[str, float], grace_s: float
) -> None:
    with on.stopped(**options) as took_s:
        assert (took_s, victim.done) == (1.5, [f"stop {grace_s}"])
        with pytest.raises(UnavailableError, match="it is stopped already"), on.stopped():
            pytest.fail("it was stopped again")
        clock.now_s += 2.5
    assert victim.done == [f"stop {grace_s}", "start"]
    assert list(map(seen, victim.faults)) == [("stopped", None, 2.5, {"grace_s": grace_s})]


@pytest.mark.parametrize(("options", "status"), [({}, 500), ({"status": 503}, 503)])
def test_pings_fail(victim: Victim, on: Faults, clock: Clock, options: dict[str, int], status: int) -> None:
    with on.ping_failing(**options):
        assert victim.running.client.ping().status == status
        clock.now_s += 2.5
    assert victim.running.client.ping().status == 200
    assert list(map(seen, victim.faults)) == [("ping failing", None, 2.5, {"status": status})]


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (lambda on: on.disk_full(), "disk full"),
        (lambda on: on.s3_slow(latency_s=1), "S3 slow"),
        (lambda on: on.s3_failing(), "S3 failing"),
        (lambda on: on.s3_truncated(), "S3 truncated"),
    ],
    ids=["disk_full", "s3_slow", "s3_failing", "s3_truncated"],
)
def test_a_server_is_handed_its_archives(
    on: Faults, fault: Callable[[Faults], AbstractContextManager[None]], what: str
) -> None:
    with pytest.raises(UnavailableError, match=f"{what} for a server"), fault(on):
        pytest.fail("it was made all the same")


# The network


class _Answering(http.server.BaseHTTPRequestHandler):
    def answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = answer  # noqa: N815  the names that it wants

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def listening(victim: Victim) -> Iterator[ContractClient]:
    """The client of a victim that listens on a real port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answering) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        with contextlib.closing(ContractClient(f"http://127.0.0.1:{server.server_port}")) as client:
            victim.running.direct = client
            yield client
        server.shutdown()
        serving.join()


def test_every_call_is_slowed(victim: Victim, on: Faults, listening: ContractClient) -> None:
    with on.slowed(latency_s=0.05):
        assert victim.running.client.ping().seconds >= 0.1
        assert victim.running.client.invoke("id-b", b"x").seconds >= 0.1
    assert victim.running.client is listening
    ((outcome, model, seconds, detail),) = map(seen, victim.faults)
    assert (outcome, model, detail) == ("slowed", None, {"latency_s": 0.05})
    assert seconds is not None
    assert seconds >= 0.2


@pytest.mark.usefixtures("listening")
def test_a_call_that_is_under_way_when_the_network_is_fast_again_is_slow_and_no_more(
    victim: Victim, on: Faults
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with on.slowed(latency_s=0.1):
            asking = pool.submit(victim.running.client.ping)
            assert not wait([asking], timeout=0.05).done
        assert asking.result().ok


@pytest.mark.usefixtures("listening")
def test_only_the_requests_to_one_model_are_slowed(victim: Victim, on: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_relay, "_LINGER_S", 0)
    with on.slowed("a", latency_s=1000):
        client = victim.running.client
        assert all(reply.ok for reply in (client.ping(), client.load("id-a", "/m"), client.invoke("id-b", b"x")))
        with pytest.raises(NoAnswerError) as late:
            client.invoke("id-a", b"x", timeout_s=0.1)
        assert late.value.timed_out
    assert seen(victim.faults[0])[:2] == ("slowed", "a")


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(("options", "silently"), [({}, False), ({"silently": True}, True)])
def test_no_call_gets_through_a_cut(victim: Victim, on: Faults, options: dict[str, bool], silently: bool) -> None:
    with on.cut(**options), pytest.raises(NoAnswerError) as lost:
        victim.running.client.ask("GET", "/ping", timeout_s=0.1 if silently else 10)
    assert lost.value.timed_out is silently
    assert victim.running.client.ping().ok
    assert seen(victim.faults[0])[3] == {"refusing": not silently, "silent": silently}


@pytest.mark.usefixtures("listening")
def test_the_end_of_a_cut_breaks_what_still_waits(victim: Victim, on: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_relay, "_LINGER_S", 20.0)
    with ThreadPoolExecutor(1) as pool:
        with on.cut(silently=True):
            asking = pool.submit(victim.running.client.ask, "GET", "/ping", timeout_s=60)
            assert not wait([asking], timeout=0.1).done
        with pytest.raises(NoAnswerError) as lost:
            asking.result()
    assert not lost.value.timed_out
    assert lost.value.seconds < 20


# A model that monopolises


def hogs() -> int:
    return sum(thread.name.startswith("hog") for thread in threading.enumerate())


@pytest.mark.parametrize(("options", "clients"), [({}, 4), ({"clients": 1}, 1)])
def test_so_many_clients_ask_a_model_again_and_again(options: dict[str, int], clients: int) -> None:
    enough, asked, together = threading.Event(), itertools.count(1), threading.Barrier(clients)

    def answer(*_: object) -> None:
        if next(asked) <= clients:
            together.wait(10)
        if next(asked) > 20:
            enough.set()

    victim = Victim(answer)
    with Faults(victim).hogged("a", **options):
        assert enough.wait(10)
        assert hogs() == clients
    assert hogs() == 0
    (event,) = victim.faults
    assert (event.outcome, event.model, event.detail) == (
        *("hogged", "a"),
        {"clients": clients, "requests": len(victim.done)},
    )
    assert set(victim.done) == {"invoke a [1.0]"}


@pytest.mark.parametrize(("x", "sent"), [(None, "first"), ("mine", "mine")])
def test_a_hog_sends_what_it_is_given_or_a_known_instance(x: Any, sent: str) -> None:
    asked = threading.Event()
    victim = Victim(lambda *_: asked.set())
    known = KnownAnswers.of([Pair("first", None), Pair("second", None)], Tolerances())
    with Faults(victim).hogged(Model(name="a", archive=Path("m.tar.gz"), known=known), clients=1, x=x):
        assert asked.wait(10)
    assert set(victim.done) == {f"invoke a {sent}"}


def test_a_hog_takes_its_time(clock: Clock) -> None:
    victim = Victim()
    with Faults(victim).hogged("a", clients=1):
        clock.now_s += 2.5
    assert victim.faults[0].seconds == 2.5


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_hog_that_never_succeeds_is_an_error(succeeds: bool) -> None:
    often, asked = threading.Event(), itertools.count(1)

    def answer(*_: object) -> None:
        number = next(asked)
        if number > 2:
            often.set()
        if number <= 2 or not succeeds:
            raise KeyError(number)

    hogged = Faults(Victim(answer)).hogged("a", clients=1)
    hogged.__enter__()
    assert often.wait(10)
    if succeeds:
        hogged.__exit__(None, None, None)
    else:
        with pytest.raises(KeyError, match=r"^1$"):
            hogged.__exit__(None, None, None)


def test_a_hog_waits_a_hundredth_of_a_second_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    often, waits = threading.Event(), list[float | None]()

    class Noting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            often.set()
            return super().wait(timeout)

    def refuse(*_: object) -> None:
        raise KeyError("never")

    monkeypatch.setattr(threading, "Event", Noting)
    with pytest.raises(KeyError), Faults(Victim(refuse)).hogged("a", clients=1):
        assert often.wait(10)
    assert set(waits) - {None} == {0.01}  # a thread waits for its own start without a limit


# Chaos


def strike(kind: chaos.Kind, model: str = "a", *, at_s: float = 0.0, lasts_s: float = 0.0) -> Strike:
    return Strike(at_s=at_s, kind=kind, model=model, lasts_s=lasts_s)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[Any, ...]]]:
    """Lets every chaos have these strikes; returns what schedules are asked for."""

    def plan(*strikes: Strike) -> list[tuple[Any, ...]]:
        asked = []

        def schedule(seed: int, models: list[str], **options: Any) -> Schedule:
            asked.append((seed, models, options))
            return Schedule(seed, strikes)

        monkeypatch.setattr(chaos, "schedule", schedule)
        return asked

    return plan


def wait_for_faults(victim: Victim, count: int) -> None:
    wait_for(lambda: len(victim.faults) >= count or None, what=f"{count} faults", timeout_s=10)


def test_chaos_strikes_as_planned(victim: Victim, on: Faults, planned: Callable[..., Any]) -> None:
    planned(strike("kill"), strike("paused", "b"), strike("slowed", lasts_s=0.03), strike("kill", "b", at_s=0.1))
    with on.chaos("a", "b", seconds=1) as plan:
        assert len(plan) == 4
        wait_for_faults(victim, 5)
    begins, *struck, ends = victim.faults
    assert [(event.outcome, event.model) for event in struck] == [
        *(("killed", "a"), ("paused", "b"), ("slowed", None), ("killed", "b"))
    ]
    assert struck[2].seconds is not None
    assert struck[2].seconds >= 0.03
    assert struck[2].detail["latency_s"] == 0.05
    assert struck[3].at_s - begins.at_s >= 0.1
    assert ends.outcome == "chaos"
    assert ends.seconds == pytest.approx(ends.at_s - begins.at_s, abs=0.1)
    assert victim.done == ["KILL id-a", "STOP id-b", "CONT id-b", "KILL id-b"]


@pytest.mark.parametrize("late", [strike("paused", lasts_s=1000), strike("kill", at_s=1000)], ids=["long", "far"])
def test_the_end_of_its_block_ends_chaos(victim: Victim, on: Faults, planned: Callable[..., Any], late: Strike) -> None:
    planned(strike("kill", "b"), late, strike("kill", at_s=1000))
    with on.chaos("a", "b", seconds=1):
        wait_for_faults(victim, 2)
    assert "KILL id-a" not in victim.done
    assert victim.done.count("STOP id-a") == victim.done.count("CONT id-a")


def test_what_is_not_in_memory_is_missed(victim: Victim, on: Faults, planned: Callable[..., Any]) -> None:
    planned(strike("kill"), strike("paused", "b"), strike("kill", "b"))
    victim.controls.refused.update({"KILL id-a": refusal(), "STOP id-b": refusal()})
    with on.chaos("a", "b", seconds=1):
        wait_for_faults(victim, 4)
    assert [(event.outcome, event.model) for event in victim.faults[1:-1]] == [
        *(("kill missed", "a"), ("paused missed", "b"), ("killed", "b"))
    ]


def test_another_error_of_a_strike_is_raised_at_the_end(
    victim: Victim, on: Faults, planned: Callable[..., Any]
) -> None:
    planned(strike("kill"))
    victim.controls.refused["KILL id-a"] = OSError("it cannot be signalled")
    with pytest.raises(OSError, match="it cannot be signalled"), on.chaos("a", seconds=1):
        pass
    assert victim.faults[-1].outcome == "chaos"


@pytest.mark.parametrize(("own", "given", "chosen"), [(3, None, 3), (3, 0, 0), (0, None, 0), (None, None, 17)])
def test_the_seed_of_chaos_is_the_given_or_that_of_the_run_or_a_random_one(
    victim: Victim,
    planned: Callable[..., list[tuple[Any, ...]]],
    monkeypatch: pytest.MonkeyPatch,
    own: int | None,
    given: int | None,
    chosen: int,
) -> None:
    monkeypatch.setattr(chaos, "random_seed", lambda: 17)
    asked = planned()
    with Faults(victim, seed=own).chaos("a", "b", seconds=9, seed=given):
        pass
    assert asked == [(chosen, ["a", "b"], {"seconds": 9, "rate": 2.0, "kinds": chaos.KINDS})]
    assert [seen(event)[3] for event in victim.faults] == [{"seed": chosen, "faults": 0}, {"seed": chosen}]
