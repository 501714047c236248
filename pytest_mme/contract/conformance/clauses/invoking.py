"""Invoke: requests to models."""

from __future__ import annotations

import concurrent.futures

from pytest_mme.contract import routes
from pytest_mme.contract.conformance.clauses.clause import JSON, clause, expect, expect_prediction, expect_status
from pytest_mme.contract.conformance.subject import opaque, request
from pytest_mme.contract.conformance.trial import Trial

_IN_TURN = 8  # requests to each of two models
_UNFIT = b'{"instances": [{"no model": "takes this"}]}'
_ATTRIBUTES = "trace=judged"


@clause("invoke.answer", source="D", needs=("load.200",))
def answer(trial: Trial) -> None:
    """A loaded model predicts, and correctly."""
    expect_prediction(trial, trial.loaded())


@clause("invoke.404", source="D")
def not_loaded(trial: Trial) -> None:
    """A request to a model that is not loaded is 404."""
    expect_status(trial.invoke(opaque(), request(trial.specimens.first)), routes.NOT_LOADED)


@clause("invoke.content-type", source="D", needs=("invoke.answer",))
def content_type(trial: Trial) -> None:
    """The reply to a request in JSON that accepts JSON is JSON, and its `Content-Type` says so."""
    reply = expect_prediction(trial, trial.loaded(), headers=JSON)
    seen = reply.headers.get("Content-Type")
    expect(seen is not None, "the reply has no `Content-Type`")
    expect(str(seen).partition(";")[0].strip() == JSON["Accept"], f"the reply's `Content-Type` is {seen!r}")


@clause("invoke.custom-attributes", source="D", needs=("invoke.answer",))
def custom_attributes(trial: Trial) -> None:
    """A request may carry `X-Amzn-SageMaker-Custom-Attributes`."""
    expect_prediction(trial, trial.loaded(), headers={**JSON, routes.CUSTOM_ATTRIBUTES: _ATTRIBUTES})


@clause("invoke.target-model", source="D", needs=("invoke.answer",))
def target_model(trial: Trial) -> None:
    """A request carries `X-Amzn-SageMaker-Target-Model`, the path of the archive, which is not the id."""
    placed = trial.loaded()
    expect_prediction(trial, placed, headers={**JSON, routes.TARGET_MODEL: f"judged/{placed.model.key}"})


@clause("invoke.two-models", source="D", needs=("invoke.answer",))
def two_models(trial: Trial) -> None:
    """Models that are loaded and invoked at the same time each give their own predictions."""
    both = [trial.loaded(), trial.loaded(trial.specimens.second)]
    with concurrent.futures.ThreadPoolExecutor(len(both)) as pool:
        list(pool.map(lambda placed: expect_prediction(trial, placed), both * _IN_TURN))


@clause("invoke.largest-body", source="D", needs=("invoke.answer",))
def largest_body(trial: Trial) -> None:
    """A body may have 6291456 bytes."""
    placed = trial.loaded()
    body = request(placed.model)
    expect_prediction(trial, placed, body.ljust(routes.MAX_BODY_BYTES))


@clause("invoke.client-error", source="D", needs=("invoke.answer",))
def client_error(trial: Trial) -> None:
    """The reply to a request that the model cannot take is 4xx: the platform hands the status on."""
    placed = trial.loaded()
    for body in (_UNFIT, b"no JSON"):
        reply = trial.invoke(placed.identifier, body)
        expect(
            400 <= reply.status < 500, f"the reply to a request that the model cannot take is {reply.status}, not 4xx"
        )


@clause("invoke.after-client-error", source="D", needs=("invoke.answer",))
def after_client_error(trial: Trial) -> None:
    """After a request that the model cannot take, the next one gets its prediction."""
    placed = trial.loaded()
    trial.invoke(placed.identifier, _UNFIT)
    expect_prediction(trial, placed)
