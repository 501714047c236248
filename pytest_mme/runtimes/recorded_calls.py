"""One instance in, one prediction out: what `server.invoke` and `endpoint.invoke` send, expect and return."""

from __future__ import annotations

import json
from typing import Any

from pytest_mme.contract.client import Reply
from pytest_mme.errors import ContractError
from pytest_mme.models.builder import Model
from pytest_mme.models.json_values import to_json
from pytest_mme.models.spec import DEFAULT_SIGNATURE

_MOST_SAID = 2000  # bytes


def instance_body(x: Any, signature: str) -> bytes:
    """The request for the one instance *x*, in TensorFlow Serving's row format; TypeError for what has no form there."""
    request = {"instances": [x]} | ({} if signature == DEFAULT_SIGNATURE else {"signature_name": signature})
    return to_json(request).encode()


def instance_said(body: bytes, signature: str, before: float | None) -> dict[str, Any]:
    """What was asked, for an event: so it can be asked again. Nothing where that is large."""
    if len(body) > _MOST_SAID:
        return {}
    options: dict[str, Any] = {} if signature == DEFAULT_SIGNATURE else {"signature": signature}
    if before is not None:
        options["before"] = before
    return {"x": json.loads(body)["instances"][0], **({"asked": options} if options else {})}


def prediction(reply: Reply) -> Any:
    """The one prediction of a good reply; raises `ContractError` when it holds none, as an error that says it is good."""
    try:
        return reply.json()["predictions"][0]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ContractError("invoke", reply.status, reply.text) from error


def known_answer(model: Model, x: Any, signature: str, before: float | None) -> dict[str, Any]:
    """What `checks.check_answers` needs to judge the reply.

    Nothing, for an archive that the kit did not build, for an instance that the model does not take, and for a
    counter of which nobody says what it had counted *before*.
    """
    if model.spec is None or (model.spec.kind == "counter" and before is None):
        return {}
    try:
        answer = model.answer(x, signature=signature, before=before or 0.0)
    except ValueError:  # let the model itself say what is wrong with it
        return {}
    return {"expected": {"identity": answer.identity, "value": answer.value}}
