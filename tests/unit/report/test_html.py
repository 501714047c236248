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
