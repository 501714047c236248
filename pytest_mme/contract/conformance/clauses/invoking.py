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


@clause("invoke.answer", "A loaded model predicts, and correctly.", source="D", needs=("load.200",))
def _answer(trial: Trial) -> None:
    expect_prediction(trial, trial.loaded())


@clause("invoke.404", "A request to a model that is not loaded is 404.", source="D")
def _not_loaded(trial: Trial) -> None:
    expect_status(trial.invoke(opaque(), request(trial.specimens.first)), routes.NOT_LOADED)


@clause(
    "invoke.content-type",
    "The reply to a request in JSON that accepts JSON is JSON, and its `Content-Type` says so.",
    source="D",
    needs=("invoke.answer",),
)
def _content_type(trial: Trial) -> None:
    reply = expect_prediction(trial, trial.loaded(), headers=JSON)
    seen = reply.headers.get("Content-Type")
    expect(seen is not None, "the reply has no `Content-Type`")
    expect(str(seen).partition(";")[0].strip() == JSON["Accept"], f"the reply's `Content-Type` is {seen!r}")


@clause(
    "invoke.custom-attributes",
    f"A request may carry `{routes.CUSTOM_ATTRIBUTES}`.",
    source="D",
    needs=("invoke.answer",),
)
def _custom_attributes(trial: Trial) -> None:
    expect_prediction(trial, trial.loaded(), headers={**JSON, routes.CUSTOM_ATTRIBUTES: _ATTRIBUTES})


@clause(
    "invoke.target-model",
    f"A request carries `{routes.TARGET_MODEL}`, the path of the archive, which is not the id.",
    source="D",
    needs=("invoke.answer",),
)
def _target_model(trial: Trial) -> None:
    placed = trial.loaded()
    expect_prediction(trial, placed, headers={**JSON, routes.TARGET_MODEL: f"judged/{placed.model.key}"})


@clause(
    "invoke.two-models",
    "Models that are loaded and invoked at the same time each give their own predictions.",
    source="D",
    needs=("invoke.answer",),
)
def _two_models(trial: Trial) -> None:
    both = [trial.loaded(), trial.loaded(trial.specimens.second)]
    with concurrent.futures.ThreadPoolExecutor(len(both)) as pool:
        list(pool.map(lambda placed: expect_prediction(trial, placed), both * _IN_TURN))


@clause(
    "invoke.largest-body",
    f"A body may have {routes.MAX_BODY_BYTES} bytes.",
    source="D",
    needs=("invoke.answer",),
)
def _largest_body(trial: Trial) -> None:
    placed = trial.loaded()
    body = request(placed.model)
    expect_prediction(trial, placed, body.ljust(routes.MAX_BODY_BYTES))


@clause(
    "invoke.client-error",
    "The reply to a request that the model cannot take is 4xx: the platform hands the status on.",
    source="D",
    needs=("invoke.answer",),
)
def _client_error(trial: Trial) -> None:
    placed = trial.loaded()
    for body in (_UNFIT, b"no JSON"):
        reply = trial.invoke(placed.identifier, body)
        expect(
            400 <= reply.status < 500, f"the reply to a request that the model cannot take is {reply.status}, not 4xx"
        )


@clause(
    "invoke.after-client-error",
    "After a request that the model cannot take, the next one gets its prediction.",
    source="D",
    needs=("invoke.answer",),
)
def _after_client_error(trial: Trial) -> None:
    placed = trial.loaded()
    trial.invoke(placed.identifier, _UNFIT)
    expect_prediction(trial, placed)


NOTHING_LOADED = (_not_loaded,)
INVOKING = (
    *(_answer, _content_type, _custom_attributes, _target_model, _two_models),
    *(_largest_body, _client_error, _after_client_error),
)
