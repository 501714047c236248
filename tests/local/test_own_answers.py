"""Known answers of archives that the kit did not build, from real servers and TensorFlow's own package."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_mme import Endpoint, Models, Run, Server, Settings, Traffic, round_robin
from pytest_mme.answers import FLOAT32
from pytest_mme.archives.archive import pack
from pytest_mme.errors import AnswersError, UnknownAnswerError
from pytest_mme.measuring.fits import Measurements
from pytest_mme.runtimes.spec import ServerSpec
from tests.own_models import write_casts

Servers = Callable[..., Server]
CROSS_TALKING = """
import json
import time

current = None

def input_handler(data, context):
    global current
    current = json.loads(data.read())
    time.sleep(0.02)  # what it does to the request takes so long, and other requests come meanwhile
    return json.dumps(current)

def output_handler(response, context):
    return response.content, "application/json"
"""
THREAD_SAFE = CROSS_TALKING.replace("    global current\n", "")
DRAWN_AT_IMPORT = """
import json
import random

drawn = random.random()

def handler(data, context):
    return json.dumps({"predictions": [drawn]}), "application/json"
"""
TWICE = """
import json

def handler(data, context):
    return json.dumps({"predictions": [{"twice": 2 * json.load(data)["instances"][0], "by": "us"}]}), "application/json"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run with a cache of its own, in which nothing has been recorded before."""
    cache = tmp_path_factory.mktemp("cache")
    with Run(Settings.resolve(environment={**os.environ, "PYTEST_MME_CACHE": str(cache)})) as run:
        yield run


def archive_of(models: Models, name: str, handler: str) -> Path:
    """An archive of a linear model with this handler, as a team has it."""
    return models.linear(name, handler=handler).archive


def test_a_race_in_the_handler_of_a_users_archive_is_found(
    run: Run, mme_server: Servers, mme_traffic: Callable[..., Traffic]
) -> None:
    racy, safe = (
        run.models.archive(archive_of(run.models, name, handler), name, answers="recorded")
        for name, handler in (("racy", CROSS_TALKING), ("safe", THREAD_SAFE))
    )
    server = mme_server()
    for model in (racy, safe):
        server.load(model)
    for model in (racy, safe):
        assert server.invoke(model, model.examples[1]) == model.answer(model.examples[1])
    server.check_answers(at_least=2)
    load = mme_traffic(server).closed(round_robin([racy, safe]), clients=8, requests=60)
    assert load.failed == 0
    asked = {str(event.detail["x"]) for event in server.timeline if event.kind == "invoke" and "x" in event.detail}
    assert asked == {str(x) for x in racy.examples}
    with pytest.raises(AssertionError, match=r"\d+ of 62 predictions are wrong") as caught:
        server.check_answers(at_least=62)
    assert set(re.findall(r" s (\w+) answered", str(caught.value))) == {"racy"}


def test_an_endpoint_judges_a_users_archive_too(
    run: Run, mme_endpoint: Callable[..., Endpoint], mme_traffic: Callable[..., Traffic]
) -> None:
    model = run.models.archive(archive_of(run.models, "own", THREAD_SAFE), "own", answers="recorded")
    endpoint = mme_endpoint([model])
    mme_traffic(endpoint).closed(round_robin([model]), clients=4, requests=20)
    endpoint.check_answers(at_least=20)
    assert isinstance(endpoint.invoke(model, [77.0]), dict)
    (unknown,) = [event for event in endpoint.timeline if event.detail.get("x") == [77.0]]
    assert "got" in unknown.detail
    assert "expected" not in unknown.detail


def test_what_a_handler_makes_of_it_is_recorded(run: Run) -> None:
    archive = archive_of(run.models, "own", TWICE)
    model = run.models.archive(archive, "own", answers="recorded", inputs=["ab", [1]])
    assert model.answer("ab") == {"twice": "abab", "by": "us"}
    assert model.answer([1]) == {"twice": [1, 1], "by": "us"}


def test_the_handler_of_all_models_is_recorded(run: Run, tmp_path: Path) -> None:
    (tmp_path / "inference.py").write_text(TWICE)
    own = write_casts(tmp_path / "own", {"y": "DT_FLOAT"})
    model = run.models.archive(own, answers="recorded", inputs=["ab"], code=tmp_path)
    assert model.answer("ab") == {"twice": "abab", "by": "us"}
    with pytest.raises(UnknownAnswerError):
        run.models.archive(own, answers="recorded").answer("ab")


ONE_FOR_ALL = """
import time

current = None

def inference_handler(data, model_name):
    global current
    current = [model_name, *data["instances"]]
    time.sleep(0.02)  # what it does to the request takes so long, and other requests come meanwhile
    return {"predictions": [current]}
"""


def test_a_race_in_the_handler_that_loads_all_models_is_found(
    run: Run, tmp_path: Path, mme_handler: Callable[..., Server], mme_traffic: Callable[..., Traffic]
) -> None:
    (tmp_path / "ours.py").write_text(ONE_FOR_ALL)
    own = write_casts(tmp_path / "own", {"y": "DT_FLOAT"})
    model = run.models.archive(own, answers="recorded", inputs=[[1.0], [2.0]], code=tmp_path / "ours.py")
    assert model.answer([2.0]) == ["own", [2.0]]
    server = mme_handler(tmp_path / "ours.py", [model])
    server.invoke(model, [1.0])
    server.check_answers()
    mme_traffic(server).closed(round_robin([model]), clients=8, requests=40)
    with pytest.raises(AssertionError, match=r"of 41 predictions are wrong"):
        server.check_answers(at_least=41)


def test_a_handler_that_cannot_be_imported_has_no_answers(run: Run, tmp_path: Path) -> None:
    own = write_casts(tmp_path / "own", {"y": "DT_FLOAT"})
    for code in (tmp_path / "inference.py", tmp_path):
        (tmp_path / "inference.py").write_text("import not_there")
        with pytest.raises(AnswersError, match=r"(?s)it was not loaded: .*not_there"):
            run.models.archive(own, answers="recorded", code=code)


@pytest.mark.parametrize(
    ("archive", "when"),
    [
        (lambda models, _: models.counter().archive, "then"),
        (lambda models, _: archive_of(models, "drawn", DRAWN_AT_IMPORT), "and when it had been loaded again"),
        (lambda _, folder: write_casts(folder / "noisy", {"y": "DT_FLOAT"}, noisy=True), "then"),
    ],
    ids=["counter", "random at each load", "random at each call"],
)
def test_a_model_that_is_not_deterministic_is_refused(
    run: Run, tmp_path: Path, archive: Callable[[Models, Path], Path], when: str
) -> None:
    seen = rf"asked more than once for x = \[1.0\], it predicted .*, {when} "
    with pytest.raises(AnswersError, match=seen) as caught:
        run.models.archive(archive(run.models, tmp_path), "own", answers="recorded", inputs=[[1.0]])
    assert "remembers calls or draws random numbers" in caught.value.advice


def test_an_input_that_the_model_refuses_is_named(run: Run, tmp_path: Path) -> None:
    own = write_casts(tmp_path / "own", {"y": "DT_FLOAT"})
    with pytest.raises(AnswersError, match=r"asked for x = 'text', it replied 400: ") as caught:
        run.models.archive(own, answers="recorded", inputs=[[1.0], "text"])
    assert "inputs=" in caught.value.advice


def test_an_archive_that_is_not_loaded_has_no_answers(run: Run, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"damaged")
    pack(tmp_path, tmp_path / "own.tar.gz", inside="1")
    with pytest.raises(AnswersError, match="it was not loaded: "):
        run.models.archive(tmp_path / "own.tar.gz", answers="recorded", inputs=[[1.0]])


OUTPUTS = {"single": "DT_FLOAT", "double": "DT_DOUBLE", "whole": "DT_INT32", "truth": "DT_BOOL"}


@pytest.mark.parametrize("outputs", [OUTPUTS, {"y": "DT_FLOAT"}], ids=["several outputs", "one output"])
def test_python_and_the_server_answer_the_same(run: Run, tmp_path: Path, outputs: dict[str, str]) -> None:
    own = write_casts(tmp_path / "own", outputs)
    inputs = [[0.0], [1.0, 2.1], [3.3]]
    recorded, python = (run.models.archive(own, answers=how, inputs=inputs) for how in ("recorded", "python"))
    for x in inputs:
        assert recorded.answer(x) == python.answer(x).value
        assert recorded.answer(x) != python.answer([1.0, 2.1] if x != [1.0, 2.1] else [0.0]).value


def test_python_answers_what_servers_cannot_write(run: Run, tmp_path: Path) -> None:
    own = write_casts(tmp_path / "own", {"y": "DT_BFLOAT16"})
    assert run.models.archive(own, answers="python", inputs=[[2.1]]).answer([2.1]) == [2.1]
    with pytest.raises(AnswersError, match="Failed to write JSON value for tensor type: bfloat16"):
        run.models.archive(own, answers="recorded", inputs=[[2.1]])


@pytest.mark.versions
def test_another_version_of_tensorflow_is_asked(mme_models: Models, tmp_path: Path) -> None:
    whole = f"whole_{uuid.uuid4().hex[:8]}"  # so that no earlier run has asked it
    own = write_casts(tmp_path / "own", {"y": "DT_FLOAT", whole: "DT_INT64"})
    for model in (
        mme_models.archive(own, answers="recorded", inputs=[[2.5], [3.0]], tf="2.15.1"),
        mme_models.archive(own, answers="python", inputs=[[2.5], [3.0]], tf="2.15.1"),
    ):
        assert model.answer([2.5]) == {"y": [2.5], whole: [2]}


def test_python_answers_texts_and_bytes(run: Run) -> None:
    text = run.models.text()
    own = run.models.archive(text.archive, answers="python", inputs=["one", {"x": "two"}, {"b64": "b25l"}])
    assert own.answer("one").value == own.answer({"b64": "b25l"}).value
    identity = text.answer("two").identity
    assert own.answer({"x": "two"}) == {"identity": identity, "y": f"{identity}: two"}


@pytest.mark.parametrize(
    ("inputs", "seen"),
    [([[1.0], "text"], 'it refuses x = "text": '), ([{"z": [1.0]}], "it takes an object with x")],
)
def test_an_input_that_python_refuses_is_named(run: Run, tmp_path: Path, inputs: list[Any], seen: str) -> None:
    own = write_casts(tmp_path / "own", {"y": "DT_FLOAT"})
    with pytest.raises(AnswersError, match=seen):
        run.models.archive(own, answers="python", inputs=inputs)


def test_python_refuses_a_model_that_is_not_deterministic(run: Run, tmp_path: Path) -> None:
    own = write_casts(tmp_path / "own", {"y": "DT_FLOAT"}, noisy=True)
    with pytest.raises(AnswersError, match="asked more than once"):
        run.models.archive(own, answers="python")


def test_an_optimised_copy_keeps_its_answers(run: Run, mme_server: Servers, tmp_path: Path) -> None:
    own = run.models.archive(write_casts(tmp_path / "own", {"y": "DT_FLOAT"}), answers="recorded")
    faster = run.models.optimised(own, tolerance=1e-3)
    assert faster.archive != own.archive
    assert faster.examples == own.examples
    assert own.answer(own.examples[0]).tolerance == FLOAT32
    assert faster.answer(own.examples[0]).tolerance.relative == 1e-3
    server = mme_server()
    server.load(faster)
    for x in faster.examples:
        server.invoke(faster, x)
    server.check_answers(at_least=4)


def test_a_wrong_answer_within_the_tolerance_of_the_call_is_right(
    mme_server: Servers, mme_models: Models, tmp_path: Path
) -> None:
    own = write_casts(tmp_path / "own", {"y": "DT_FLOAT"})
    server = mme_server()
    exact, loose = (
        mme_models.archive(own, name, answers=lambda x: [1.01 * x[0]], rtol=rtol)
        for name, rtol in (("exact", None), ("loose", 0.02))
    )
    for model in (exact, loose):
        server.load(model)
    server.invoke(loose, [1.0])
    server.check_answers()
    server.invoke(exact, [1.0])
    with pytest.raises(AssertionError, match=r"1 of 2 .*\n.* exact answered \[1.0\], not \[1.01\]"):
        server.check_answers()


def test_fits_asks_for_a_known_instance(run: Run) -> None:
    """What the first request allocates counts: a model that allocates at a call needs more, where it may be asked."""
    archive = run.models.linear("own", allocate_mib=60).archive
    models = run.models.archive(archive, "own"), run.models.archive(archive, "own", answers="recorded")
    measurements = Measurements(run.settings.cache.value / "costs", run.runtime)
    unasked, asked = (measurements.fit(1, [model], ServerSpec()).memory_mib for model in models)
    assert asked - unasked > 50
