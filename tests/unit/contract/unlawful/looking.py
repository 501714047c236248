"""Servers that are wrong in ping, list or get."""

from __future__ import annotations

from typing import Any

from tests.unit.contract.lawful import Lawful, Response
from tests.unit.contract.unlawful.breaking import breaks


@breaks("ping.in-time")
class HangsOnPing(Lawful):
    def ping(self) -> Response:
        self.released.wait()
        return super().ping()


@breaks("ping.200")
class IsNotHealthy(Lawful):
    def ping(self) -> Response:
        return 503, b""


@breaks("ping.empty")
class RepliesToPingWithABody(Lawful):
    def ping(self) -> Response:
        return 200, b"healthy\n"


@breaks("list.200")
class HasNoList(Lawful):
    def list(self, token: str) -> Response:
        return self.missing()


@breaks("list.200")
class HangsOnList(Lawful):
    def list(self, token: str) -> Response:
        self.released.wait()
        return super().list(token)


class ListsInAnotherShape(Lawful):
    def list(self, token: str) -> Response:
        return 200, self.reshaped(super().list(token)[1])

    def reshaped(self, page: dict[str, Any]) -> Any:
        raise NotImplementedError


@breaks("list.empty")
class ListsLikeTensorFlowServing(ListsInAnotherShape):
    def reshaped(self, page: dict[str, Any]) -> Any:
        return {one["modelName"]: {"model_version_status": []} for one in page["models"]}


@breaks("list.empty")
class ListsAnArray(ListsInAnotherShape):
    def reshaped(self, page: dict[str, Any]) -> Any:
        return page["models"]


@breaks("list.empty")
class ListsWithoutJson(ListsInAnotherShape):
    def reshaped(self, page: dict[str, Any]) -> Any:
        return b"[" * 100_000


@breaks("list.empty")
class GivesANumberAsToken(ListsInAnotherShape):
    def reshaped(self, page: dict[str, Any]) -> Any:
        return {**page, "nextPageToken": 0}


@breaks("list.fields")
class ListsNothing(ListsInAnotherShape):
    def reshaped(self, page: dict[str, Any]) -> Any:
        return {"models": []}


@breaks("list.fields")
class ListsNames(ListsInAnotherShape):
    def reshaped(self, page: dict[str, Any]) -> Any:
        return {**page, "models": [one["modelName"] for one in page["models"]]}


@breaks("list.fields")
class ListsWithoutUrls(ListsInAnotherShape):
    def reshaped(self, page: dict[str, Any]) -> Any:
        return {**page, "models": [{"modelName": one["modelName"]} for one in page["models"]]}


@breaks("list.models")
class ListsOtherUrls(ListsInAnotherShape):
    def reshaped(self, page: dict[str, Any]) -> Any:
        return {**page, "models": [{**one, "modelUrl": "/opt/ml/models"} for one in page["models"]]}


@breaks("list.models")
class ListsTwice(ListsInAnotherShape):
    def reshaped(self, page: dict[str, Any]) -> Any:
        return {**page, "models": page["models"] * 2}


@breaks("list.models")
class ListsOnlyTheLast(ListsInAnotherShape):
    def reshaped(self, page: dict[str, Any]) -> Any:
        return {**page, "models": page["models"][-1:]}


@breaks("list.last-page")
class GivesATokenOnTheLastPage(Lawful):
    def list(self, token: str) -> Response:
        page = super().list(token)[1]
        return 200, page if token or not self.loaded else {**page, "nextPageToken": "100"}


@breaks("list.fields", "list.last-page")
class ListsWithoutEnd(Lawful):
    def list(self, token: str) -> Response:
        return 200, {**super().list("")[1], "nextPageToken": "again"}


@breaks("list.pages")
class AddsAnEmptyPage(Lawful):
    """As multi-model-server does when there are exactly as many models as fit the pages."""

    def list(self, token: str) -> Response:
        status, page = super().list(token)
        full = len(page["models"]) == 100 and "nextPageToken" not in page
        return status, {**page, "nextPageToken": str(int(token or 0) + 100)} if full else page


@breaks("list.pages")
class RepeatsOnTheSecondPage(Lawful):
    def list(self, token: str) -> Response:
        return super().list(token) if not token else (200, {"models": [self.described(next(iter(self.loaded)))]})


@breaks("get.fields")
class CannotDescribe(Lawful):
    def get(self, identifier: str) -> Response:
        return (500, b"") if identifier in self.loaded else self.missing()


@breaks("get.fields")
class DescribesInAnotherShape(Lawful):
    def get(self, identifier: str) -> Response:
        status, described = super().get(identifier)
        return status, {"model": described}


@breaks("get.fields", "get.404", "unload.then-404")
class HangsOnGet(Lawful):
    def get(self, identifier: str) -> Response:
        self.released.wait()
        return super().get(identifier)


@breaks("get.404", "unload.then-404")
class DescribesModelsThatAreNotLoaded(Lawful):
    def get(self, identifier: str) -> Response:
        return super().get(identifier) if identifier in self.loaded else (200, {})
