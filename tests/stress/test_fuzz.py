"""Requests of every kind that the server describes, and many that are almost so, against a real server.

`MME_EXPLORE=2000 pytest tests/stress/test_fuzz.py` tries so many of each call, others each time.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from pytest_mme import Models, Run, Settings
from pytest_mme.contract import routes
from pytest_mme.serving.http.openapi import description
from tests.stress.described import Known, Operation, operations
from tests.stress.front import ECHO, Front
from tests.stress.wire import ask, request

EXPLORE = os.environ.get("MME_EXPLORE")
"""How many requests of each call to try, each time others; unset: always the same few."""

FOLDERS = (
    *("", ".", "/", "/nowhere", "/dev/null", "/proc/self/mem"),
    *("\0", "/" + "x" * 300, "file:///tmp", "s3://bucket/key"),
)
BODIES = (
    *(b'{"instances": [[1.0]]}', b'{"inputs": [[1.0]]}', b'{"instances": [{"x": [1.0]}]}', b'{"instances": [[NaN]]}'),
    *(b'{"examples": [{"x": 1.0}]}', b'{"instances": [{"b64": "AA=="}]}', b'{"signature_name": "x", "inputs": 1}'),
)


@pytest.fixture(scope="module")
def front(mme_settings: Settings, mme_models: Models) -> Iterator[Front]:
    with Run(mme_settings) as run, run.server() as server:
        yield Front(server, mme_models.linear(), mme_models.linear("echo", handler=ECHO))


def test_the_server_serves_its_description(front: Front) -> None:
    assert ask(front.url, request("GET", routes.OPENAPI), "GET").json() == description()


@pytest.mark.parametrize("operation", operations(description()), ids=str)
def test_every_answer_is_as_described_and_none_is_the_servers_own_fault(front: Front, operation: Operation) -> None:
    seen: Counter[int] = Counter()

    @settings(
        max_examples=int(EXPLORE or 100),
        derandomize=EXPLORE is None,
        phases=[Phase.generate, *([Phase.shrink] if EXPLORE else [])],
        database=None,
        deadline=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(message=operation.requests(known(front, operation)))
    def fuzz(message: bytes) -> None:
        answer = ask(front.url, message, operation.method)
        seen[answer.status] += 1
        operation.check(answer)
        assert answer.status < 500, answer

    front.clean()
    assert front.server.client.load("fuzz", front.folder).ok
    with front.no_error_logged():
        fuzz()
        front.clean()
    front.check()
    assert 200 in seen, seen


def known(front: Front, operation: Operation) -> Known:
    """What means something to this server. The models that have to stay are never unloaded."""
    own = () if operation.method == "DELETE" else (front.plain, front.echo)
    orders = [json.dumps({"model_name": "fuzz-2", "url": url}).encode() for url in (front.folder, *FOLDERS)]
    return {
        "identifier": (*own, "fuzz"),
        "model_name": ("fuzz", "fuzz-2", front.plain),
        "url": (front.folder, *FOLDERS),
        "version": ("1", "01"),
        "method": ("predict", "nothing"),
        "next_page_token": ("0", "1", "100"),
        "instances": ([[1.0]], [[1.0], [2.0]], [1.0], [{"x": [1.0]}]),
        "inputs": ([[1.0]], {"x": [[1.0]]}),
        "signature_name": ("serving_default", "nothing"),
        "body": orders if operation.path == routes.MODELS else BODIES,
    }
