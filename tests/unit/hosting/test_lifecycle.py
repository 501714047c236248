"""The state machine alone: hand-written sequences, then any order of events."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pytest_mme.hosting import lifecycle
from pytest_mme.hosting.eviction import Policy
from pytest_mme.hosting.lifecycle import (
    Admit,
    Download,
    Downloaded,
    Evict,
    Finished,
    Lifecycle,
    Load,
    Loaded,
    Phase,
    Refuse,
    Ticket,
    Unloaded,
    Wanted,
)

FULL = MemoryError("507")


def resident(machine: Lifecycle, *models: str) -> None:
    """Bring models into memory, each used once, in order."""
    for model in models:
        ticket = Ticket(model)
        machine.step(Wanted(ticket))
        machine.step(Downloaded(model))
        assert machine.step(Loaded(model)) == (Admit(ticket),)
        machine.step(Finished(ticket))


def test_concurrent_first_requests_share_one_download_and_one_load() -> None:
    machine, first, second, third = Lifecycle(), Ticket("a"), Ticket("a"), Ticket("a")
    assert machine.step(Wanted(first)) == (Download("a"),)
    assert machine.step(Wanted(second)) == ()
    assert machine.step(Downloaded("a")) == (Load("a"),)
    assert machine.step(Wanted(third)) == ()
    assert machine.step(Loaded("a")) == (Admit(first), Admit(second), Admit(third))


def test_the_least_recently_used_model_is_evicted_and_comes_back_without_a_download() -> None:
    machine, c, again = Lifecycle(), Ticket("c"), Ticket("b")
    resident(machine, "a", "b")
    machine.step(Finished(_used(machine, "a")))
    machine.step(Wanted(c))
    machine.step(Downloaded("c"))
    assert machine.step(Loaded("c", FULL, no_room=True)) == (Evict("b", room_for="c"),)
    assert machine.step(Unloaded("b")) == (Load("c"),)
    assert machine.step(Loaded("c")) == (Admit(c),)
    assert machine.phase("b") is Phase.ON_DISK
    assert machine.step(Wanted(again)) == (Load("b"),)


def _used(machine: Lifecycle, model: str) -> Ticket:
    ticket = Ticket(model)
    assert machine.step(Wanted(ticket)) == (Admit(ticket),)
    return ticket


def test_a_model_with_a_request_in_flight_is_never_evicted() -> None:
    machine, b = Lifecycle(), Ticket("b")
    resident(machine, "a")
    _used(machine, "a")
    machine.step(Wanted(b))
    machine.step(Downloaded("b"))
    assert machine.step(Loaded("b", FULL, no_room=True)) == (Refuse(b, FULL),)
    assert machine.phase("a") is Phase.RESIDENT
    assert machine.phase("b") is Phase.ON_DISK


def test_a_second_loader_waits_for_an_eviction_under_way() -> None:
    machine, b, c = Lifecycle(), Ticket("b"), Ticket("c")
    resident(machine, "a")
    for ticket in (b, c):
        machine.step(Wanted(ticket))
        machine.step(Downloaded(ticket.model))
    assert machine.step(Loaded("b", FULL, no_room=True)) == (Evict("a", room_for="b"),)
    assert machine.step(Loaded("c", FULL, no_room=True)) == ()
    assert machine.step(Unloaded("a")) == (Load("b"), Load("c"))


def test_a_model_wanted_while_it_is_evicted_is_loaded_again() -> None:
    machine, b, again = Lifecycle(), Ticket("b"), Ticket("a")
    resident(machine, "a")
    machine.step(Wanted(b))
    machine.step(Downloaded("b"))
    machine.step(Loaded("b", FULL, no_room=True))
    assert machine.step(Wanted(again)) == ()
    assert machine.step(Unloaded("a")) == (Load("b"), Load("a"))


def test_a_failed_load_refuses_all_waiting_requests_and_the_next_one_loads_again() -> None:
    machine, first, second, later = Lifecycle(), Ticket("a"), Ticket("a"), Ticket("a")
    broken = RuntimeError("500")
    resident(machine, "idle")
    machine.step(Wanted(first))
    machine.step(Wanted(second))
    machine.step(Downloaded("a"))
    assert machine.step(Loaded("a", broken)) == (Refuse(first, broken), Refuse(second, broken))
    assert machine.step(Wanted(later)) == (Load("a"),)


def test_a_failed_download_leaves_nothing_on_disk() -> None:
    machine, first, later = Lifecycle(), Ticket("a"), Ticket("a")
    missing = FileNotFoundError("400")
    machine.step(Wanted(first))
    assert machine.step(Downloaded("a", missing)) == (Refuse(first, missing),)
    assert machine.step(Wanted(later)) == (Download("a"),)


def test_a_lost_model_is_loaded_once_for_all_requests_that_found_it_lost() -> None:
    machine = Lifecycle()
    resident(machine, "a")
    first, second = _used(machine, "a"), _used(machine, "a")
    assert machine.step(Finished(first, lost=True)) == (Load("a"),)
    assert machine.step(Finished(second, lost=True)) == ()
    assert machine.step(Loaded("a")) == (Admit(first), Admit(second))
    assert first.retried
    assert second.retried


def test_a_loss_that_is_reported_after_the_new_load_unloads_nothing() -> None:
    machine = Lifecycle()
    resident(machine, "a")
    first, late = _used(machine, "a"), _used(machine, "a")
    assert machine.step(Finished(first, lost=True)) == (Load("a"),)
    assert machine.step(Loaded("a")) == (Admit(first),)
    assert machine.step(Finished(late, lost=True)) == (Admit(late),)
    assert machine.phase("a") is Phase.RESIDENT


@pytest.mark.parametrize(
    "policy",
    [lambda _: "b", lambda _: "a.zip", lambda candidates: candidates[0], lambda _: 1 / 0],
    ids=["busy", "unknown", "candidate", "raises"],
)
def test_a_policy_that_chooses_no_candidate_fails_the_request_that_needed_room(policy: Policy) -> None:
    machine, c = Lifecycle(policy), Ticket("c")
    resident(machine, "a", "b")
    _used(machine, "b")
    machine.step(Wanted(c))
    machine.step(Downloaded("c"))
    (refuse,) = machine.step(Loaded("c", FULL, no_room=True))
    assert isinstance(refuse, Refuse)
    assert isinstance(refuse.failure, (ValueError, ZeroDivisionError))
    assert [machine.phase(model) for model in "abc"] == [Phase.RESIDENT, Phase.RESIDENT, Phase.ON_DISK]


class AnyOrder(RuleBasedStateMachine):
    """Requests to a container of limited room, and its replies, in any order."""

    MODELS = ("a", "b", "c", "d")

    @initialize(room=st.integers(1, 3))
    def start(self, room: int) -> None:
        self.machine, self.room = Lifecycle(), room
        self.loaded: set[str] = set()
        self.pending: list[Download | Load | Evict] = []
        self.tickets: set[Ticket] = set()
        self.admitted: list[Ticket] = []
        self.settled: set[Ticket] = set()

    def step(self, event: lifecycle.Event) -> None:
        for action in self.machine.step(event):
            self.take(action)

    def take(self, action: lifecycle.Action) -> None:
        if isinstance(action, Admit):
            assert action.ticket not in self.settled
            assert action.ticket not in self.admitted
            self.admitted.append(action.ticket)
        elif isinstance(action, Refuse):
            assert action.ticket not in self.settled
            self.settled.add(action.ticket)
        else:
            same = [one for one in self.pending if one.model == action.model]
            assert same == [], "one thing at a time happens to a model"
            if isinstance(action, Evict):
                assert not [ticket for ticket in self.admitted if ticket.model == action.model]
            self.pending.append(action)

    @rule(model=st.sampled_from(MODELS))
    def want(self, model: str) -> None:
        ticket = Ticket(model)
        self.tickets.add(ticket)
        self.step(Wanted(ticket))

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), fails=st.sampled_from([False, False, False, True]))
    def finish(self, data: st.DataObject, fails: bool) -> None:
        action = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        broken = RuntimeError("500") if fails else None
        if isinstance(action, Download):
            self.step(Downloaded(action.model, broken))
        elif isinstance(action, Evict):
            self.loaded.discard(action.model)
            self.step(Unloaded(action.model))
        elif isinstance(action, Load):
            self.finish_load(action.model, broken)

    def finish_load(self, model: str, broken: Exception | None) -> None:
        if broken:
            self.loaded.discard(model)
            self.step(Loaded(model, broken))
        elif model not in self.loaded and len(self.loaded) >= self.room:
            self.step(Loaded(model, FULL, no_room=True))
        else:
            self.loaded.add(model)
            self.step(Loaded(model))

    @precondition(lambda self: self.admitted)
    @rule(data=st.data(), lost=st.booleans())
    def reply(self, data: st.DataObject, lost: bool) -> None:
        ticket = self.admitted.pop(data.draw(st.integers(0, len(self.admitted) - 1)))
        lost = lost and not ticket.retried
        if lost:
            self.loaded.discard(ticket.model)
        else:
            self.settled.add(ticket)
        self.step(Finished(ticket, lost=lost))

    @invariant()
    def every_request_is_settled(self) -> None:
        """When nothing is under way any more, every request has been admitted or refused."""
        if hasattr(self, "machine") and not self.pending:
            assert self.tickets == self.settled | set(self.admitted)


AnyOrder.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestAnyOrder = AnyOrder.TestCase
