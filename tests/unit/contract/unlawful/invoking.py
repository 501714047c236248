"""Servers that are wrong in invoke."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_mme.contract import routes
from tests.unit.contract.lawful import Lawful, Response
from tests.unit.contract.unlawful.breaking import breaks


@breaks("invoke.answer")
class PredictsWrongly(Lawful):
    def predicted(self, identifier: str, x: Any) -> Response:
        return super().predicted(identifier, [number + 1 for number in x])


@breaks("invoke.answer")
class RepliesWithText(Lawful):
    def predicted(self, identifier: str, x: Any) -> Response:
        return 200, b"yes"


@breaks("invoke.answer")
class RepliesWithoutPrediction(Lawful):
    def predicted(self, identifier: str, x: Any) -> Response:
        return 200, {"predictions": []}


@breaks("invoke.404", "unload.then-404")
class FailsForModelsThatAreNotLoaded(Lawful):
    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str]) -> Response:
        return super().invoke(identifier, body, headers) if identifier in self.loaded else (503, b"")


@breaks("invoke.content-type")
class SaysTextAsContentType(Lawful):
    content_type = "text/plain"


@breaks("invoke.content-type")
class HasNoContentType(Lawful):
    content_type = None


class ReadsHeaders(Lawful):
    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str]) -> Response:
        return self.refusal(headers) or super().invoke(identifier, body, headers)

    def refusal(self, headers: Mapping[str, str]) -> Response | None:
        raise NotImplementedError


@breaks("invoke.custom-attributes")
class RefusesAttributes(ReadsHeaders):
    def refusal(self, headers: Mapping[str, str]) -> Response | None:
        return (400, b"what attributes?") if routes.CUSTOM_ATTRIBUTES in headers else None


@breaks("invoke.target-model")
class TakesTheTargetForTheId(ReadsHeaders):
    def refusal(self, headers: Mapping[str, str]) -> Response | None:
        return (
            self.missing() if headers.get(routes.TARGET_MODEL, next(iter(self.loaded), "")) not in self.loaded else None
        )


@breaks("invoke.two-models")
class InvokesTheLastLoaded(Lawful):
    def predicted(self, identifier: str, x: Any) -> Response:
        return super().predicted(list(self.loaded)[-1], x)


@breaks("invoke.largest-body")
class TakesAMebibyte(Lawful):
    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str]) -> Response:
        return (413, b"") if len(body) > 1 << 20 else super().invoke(identifier, body, headers)


@breaks("invoke.client-error")
class RepliesToErrorsWith200(Lawful):
    def unfit(self, identifier: str) -> Response:
        return 200, {"error": "not what the model takes"}


@breaks("invoke.client-error")
class RepliesToClientErrorsWith500(Lawful):
    def unfit(self, identifier: str) -> Response:
        return 500, b""


@breaks("invoke.after-client-error")
class LosesItsModel(Lawful):
    def unfit(self, identifier: str) -> Response:
        self.unload(identifier)
        return 400, b""
