"""The statistics of a load."""

from __future__ import annotations

import pytest

from pytest_mme.traffic.load import Load, Sent, histogram


def sent(latency_s: float, *, model: str = "a", outcome: str = "ok", queued_s: float = 0.0) -> Sent:
    return Sent(model=model, due_s=1.0, sent_s=1.0 + queued_s, answered_s=1.0 + latency_s, outcome=outcome)


def load(*requests: Sent, client_share: float = 0.1) -> Load:
    return Load(name="load", sent=requests, seconds=2.0, client_share=client_share)


def test_latencies_count_from_when_a_request_was_due() -> None:
    one = sent(0.5, queued_s=0.4)
    assert one.latency_s == pytest.approx(0.5)
    assert one.queued_s == pytest.approx(0.4)
    assert load(one).latency_s(50) == pytest.approx(0.5, rel=1e-3)


def test_percentiles_of_latency() -> None:
    found = load(*(sent(number / 1000) for number in range(1, 1001)))
    assert found.latency_s(50) == pytest.approx(0.5, rel=2e-3)
    assert found.latency_s(99) == pytest.approx(0.99, rel=2e-3)
    assert found.rate == 500


def test_failed_requests_have_no_latency() -> None:
    found = load(sent(0.1), *(sent(9.0, outcome=outcome) for outcome in ("ModelError", "507", "throttled")))
    assert found.latency_s(100) == pytest.approx(0.1, rel=1e-3)
    assert found.failed == 3
    assert found.outcomes == {"ok": 1, "ModelError": 1, "507": 1, "throttled": 1}
    with pytest.raises(ValueError, match=r"no request of load succeeded: \{'ModelError': 1\}"):
        load(sent(9.0, outcome="ModelError")).latency_s(50)


def test_the_requests_to_some_models() -> None:
    found = load(sent(0.1), sent(0.2, model="b"), sent(0.3, model="c"))
    assert [one.model for one in found.of("a", "c")] == ["a", "c"]
    assert found.of("b").latency_s(99) == pytest.approx(0.2, rel=1e-3)


def test_a_load_as_text() -> None:
    text = str(load(sent(0.1), sent(0.2, queued_s=0.1), sent(0.3, outcome="ModelError"), client_share=0.95))
    assert text == (
        "load: 3 requests in 2.0 s, 2 per second; 2 ok, 1 ModelError; p50 100.0 ms, p99 200.1 ms; 1 sent late; "
        "this process was the limit (95% of a core)"
    )


def test_a_load_that_this_process_did_not_limit() -> None:
    assert not load(sent(0.1), client_share=0.5).client_bound
    assert load(sent(0.1), client_share=0.9).client_bound


def test_the_text_has_the_median_and_the_slowest_hundredth() -> None:
    assert "; p50 100.0 ms, p99 198.0 ms" in str(load(*(sent(number / 1000) for number in range(1, 201))))


@pytest.mark.parametrize(("queued_s", "late"), [(0.0099, 0), (0.0101, 1)])
def test_a_request_is_late_after_a_hundredth_of_a_second(queued_s: float, late: int) -> None:
    assert load(sent(0.1, queued_s=queued_s)).late == late


def test_a_histogram_goes_from_a_microsecond_to_an_hour() -> None:
    found = histogram([0.0, 5000.0])
    assert found.get_min_value() == 1
    assert found.get_max_value() == pytest.approx(3_600_000_000, rel=1e-3)


def test_a_load_is_a_sequence_of_its_requests() -> None:
    first, second = sent(0.1), sent(0.2)
    found = load(first, second)
    assert (found[1], list(found[:1]), list(found)) == (second, [first], [first, second])
    assert repr(found) == f"<Load {found}>"
