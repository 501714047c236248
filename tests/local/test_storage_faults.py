"""Trouble with S3: a model that cannot be downloaded, and the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError

from pytest_mme import Endpoint, Faults, Models, Server
from pytest_mme.errors import UnavailableError

Endpoints = Callable[..., Endpoint]
FaultsOn = Callable[[Server | Endpoint], Faults]


def faults_on(endpoint: Endpoint) -> list[str]:
    return [event.outcome for event in endpoint.timeline if event.kind == "fault"]


def test_a_slow_download(mme_endpoint: Endpoints, mme_models: Models, mme_faults: FaultsOn) -> None:
    slow, there = mme_models.fleet(2)
    endpoint = mme_endpoint([slow, there], ready_s=30)
    endpoint.invoke(there, [1.0])
    with mme_faults(endpoint).s3_slow(latency_s=0.5):
        endpoint.invoke(there, [1.0])
        assert endpoint.invoke(slow, [1.0]) == slow.answer([1.0])
    (download,) = [event for event in endpoint.timeline if event.kind == "download" and event.model == slow.name]
    assert download.seconds is not None
    assert download.seconds >= 0.5
    assert faults_on(endpoint) == ["S3 slow"]


def test_a_download_that_fails_once_is_tried_again(
    mme_endpoint: Endpoints, mme_models: Models, mme_faults: FaultsOn
) -> None:
    model = mme_models.linear()
    endpoint = mme_endpoint([model])
    with mme_faults(endpoint).s3_failing(times=1):
        assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    assert faults_on(endpoint) == ["S3 failing"]


def test_a_denied_download_affects_no_other_endpoint_and_works_after_the_fault(
    mme_endpoint: Endpoints, mme_models: Models, mme_faults: FaultsOn
) -> None:
    denied, other = mme_models.linear("denied"), mme_models.linear("other")
    endpoint, another = mme_endpoint([denied]), mme_endpoint([other])
    with mme_faults(endpoint).s3_failing(status=403, code="AccessDenied"):
        with pytest.raises(ClientError, match="Failed to download model data"):
            endpoint.invoke(denied, [1.0])
        assert another.invoke(other, [1.0]) == other.answer([1.0])
    assert endpoint.invoke(denied, [1.0]) == denied.answer([1.0])


def test_a_download_that_ends_half_way_leaves_nothing(
    mme_endpoint: Endpoints, mme_models: Models, mme_faults: FaultsOn
) -> None:
    model = mme_models.linear()
    endpoint = mme_endpoint([model])
    with mme_faults(endpoint).s3_truncated(), pytest.raises(ClientError, match="Failed to download model data"):
        endpoint.invoke(model, [1.0])
    assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    assert faults_on(endpoint) == ["S3 truncated"]


def test_a_server_has_no_s3(mme_server: Callable[..., Server], mme_faults: FaultsOn) -> None:
    with pytest.raises(UnavailableError, match="break an endpoint"), mme_faults(mme_server()).s3_truncated():
        pass
