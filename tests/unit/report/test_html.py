"""The data of each test on the page of a run."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from pytest_mme.report.html import page
from pytest_mme.report.records import Record
from pytest_mme.timeline.events import Timeline


def data_of(timeline: Timeline) -> Any:
    record = Record(test="test_it", outcome="failed", timeline=timeline, servers=["ranking"])
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page([record], None), re.DOTALL)
    assert found is not None
    return json.loads(found[1])["tests"][0]


def test_time_counts_from_the_first_request_and_the_start_is_folded_away() -> None:
    timeline = Timeline()
    timeline.record("start", source="engine", server="ranking", at_s=2.0, seconds=2.0)
    timeline.record("load", source="client", server="ranking", model="a", at_s=3.0, seconds=0.5)
    timeline.record("invoke", source="client", server="ranking", model="a", at_s=5.0, seconds=1.0)
    data = data_of(timeline)
    assert (data["zero"], data["from"]) == (4.0, -1.5)
    assert data["spans"]["invoke"] == [[0.0, 1.0, 0, ""]]
    assert [row[0] for row in data["events"]] == ["-2.000", "-1.000"]


@pytest.mark.parametrize("count", [19, 20])
def test_less_than_20_requests_are_shown_one_by_one(count: int) -> None:
    timeline = Timeline()
    for number in range(count):
        timeline.record("invoke", source="client", server="ranking", model="a", at_s=number, seconds=0.001 * number)
    data = data_of(timeline)
    assert list(data["latencies"]) == (["a"] if count == 20 else [])
    assert [len(ms) for ms in data["few"].values()] == ([] if count == 20 else [19])


def test_a_death_for_lack_of_memory_is_called_so() -> None:
    timeline = Timeline()
    timeline.record("oom", source="server", server="ranking", model="a", outcome="SIGKILL", at_s=1.0)
    data = data_of(timeline)
    assert data["marks"]["out of memory"] == [[1.0, 0, "out of memory a SIGKILL"]]
    assert data["marks"]["crash"] == []
    assert data["events"][0][2] == "out of memory"


def test_the_page_says_when_and_how_the_run_was_made_and_why_a_test_failed() -> None:
    record = Record(test="test_it", outcome="failed", timeline=Timeline(), servers=[], reason="no room")
    shown = page([record], None, head=["2026-01-31 12:00 UTC", "runtime <local>"])
    assert '"reason":"no room"' in shown
    assert '<p class="head">2026-01-31 12:00 UTC</p>' in shown
    assert "runtime &lt;local&gt;" in shown


@pytest.mark.parametrize("kind", ["crash", "oom"])
def test_a_death_of_all_models_is_marked_and_ends_what_was_in_memory(kind: Any) -> None:
    timeline = Timeline()
    timeline.record("load", source="hosting", server="ranking", model="a", at_s=1.0)
    timeline.record(kind, source="engine", server="ranking", outcome="exit 137", at_s=2.0, detail={"models": "all"})
    timeline.record("ping", source="hosting", server="ranking", at_s=9.0)
    data = data_of(timeline)
    ((began_s, ended_s, label),) = data["whole"]
    assert (began_s, ended_s) == (2.0, 2.0)
    assert "exit 137" in label
    assert data["spans"]["resident"] == [[1.0, 2.0, 0, ""]]


def test_an_eviction_and_its_unload_end_one_time_in_memory() -> None:
    timeline = Timeline()
    timeline.record("load", source="hosting", server="ranking", model="a", at_s=1.0)
    timeline.record("evict", source="hosting", server="ranking", model="a", at_s=2.0)
    timeline.record("unload", source="hosting", server="ranking", model="a", at_s=2.1)
    timeline.record("load", source="hosting", server="ranking", model="a", at_s=3.0)
    timeline.record("load", source="hosting", server="ranking", model="a", at_s=4.0, outcome="409")
    assert data_of(timeline)["spans"]["resident"] == [[1.0, 2.0, 0, ""], [3.0, 4.0, 0, ""]]
