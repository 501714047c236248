"""Calls in events: as JSON holds them, and as reports show them."""

from __future__ import annotations

import json
from types import SimpleNamespace

from pytest_mme.timeline.calls import call_text, details_text, plain_call
from pytest_mme.timeline.events import Event


def test_models_become_names_and_what_json_cannot_hold_becomes_text() -> None:
    call = plain_call("check_isolated", (), {"good": (SimpleNamespace(name="a.tar.gz"),), "bad": "b", "key": min})
    assert json.loads(json.dumps(call)) == call
    assert call["options"] == {"good": ["a"], "bad": "b", "key": repr(min)}


def test_a_call_is_shown_as_python_writes_it() -> None:
    assert call_text(plain_call("check_resident", ("a",), {"soft": True})) == "check_resident('a', soft=True)"


def test_a_check_is_shown_by_its_call_and_a_fault_by_its_details() -> None:
    call = plain_call("check_lru", (), {})
    check = Event(at_s=1.0, kind="mark", source="test", detail={"call": call, "failed": "no"})
    fault = Event(at_s=1.0, kind="fault", source="test", detail={"latency_s": 0.5, "call": call, "x": 1})
    assert details_text(check) == "check_lru() failed=no"
    assert details_text(fault, hidden=("x",)) == "latency_s=0.5"
