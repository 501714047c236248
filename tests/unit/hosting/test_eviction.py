"""The eviction policies, by hand-written candidates."""

from __future__ import annotations

import pytest

from pytest_mme.hosting.eviction import POLICIES, Candidate

CANDIDATES = [
    Candidate("used last", used=9, loaded=2, requests=2),
    Candidate("loaded first", used=7, loaded=1, requests=3),
    Candidate("used first", used=5, loaded=3, requests=2),
    Candidate("used rarely", used=6, loaded=4, requests=1),
]


@pytest.mark.parametrize(
    ("policy", "victims"),
    [
        ("lru", ["used first", "used rarely", "loaded first", "used last"]),
        ("fifo", ["loaded first", "used last", "used first", "used rarely"]),
        ("lfu", ["used rarely", "used first", "used last", "loaded first"]),
    ],
)
def test_a_policy_takes_one_candidate_after_the_other(policy: str, victims: list[str]) -> None:
    left, gone = list(CANDIDATES), []
    while (victim := POLICIES[policy](left)) is not None:
        gone.append(victim)
        left = [candidate for candidate in left if candidate.model != victim]
    assert gone == victims
