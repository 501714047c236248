"""Servers that are wrong on purpose: each breaks one thing, and says which clauses must deviate for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_mme.contract import routes
from tests.unit.contract.lawful import Answer, Lawful

WRONG: dict[type[Lawful], set[str]] = {}


def breaks(*clauses: str) -> Callable[[type[Lawful]], type[Lawful]]:
    """Which clauses deviate, and no others."""

    def note(server: type[Lawful]) -> type[Lawful]:
        WRONG[server] = set(clauses)
        return server

    return note


@breaks("ping.in-time")
class HangsOnPing(Lawful):
    def ping(self) -> Answer:
        self.released.wait()
        return super().ping()


@breaks("ping.200")
class IsNotHealthy(Lawful):
    def ping(self) -> Answer:
        return 503, b""


@breaks("ping.empty")
class ChatsOnPing(Lawful):
    def ping(self) -> Answer:
        return 200, b"healthy\n"


@breaks("list.200")
class HasNoList(Lawful):
    def list(self, token: str) -> Answer:
        return self.missing()


@breaks("list.200")
class HangsOnList(Lawful):
    def list(self, token: str) -> Answer:
        self.released.wait()
        return super().list(token)


class ListsOddly(Lawful):
    def list(self, token: str) -> Answer:
        return 200, self.odd(super().list(token)[1])

    def odd(self, page: dict[str, Any]) -> Any:
        raise NotImplementedError


@breaks("list.empty")
class ListsLikeTensorFlowServing(ListsOddly):
    def odd(self, page: dict[str, Any]) -> Any:
        return {one["modelName"]: {"model_version_status": []} for one in page["models"]}


@breaks("list.empty")
class ListsAnArray(ListsOddly):
    def odd(self, page: dict[str, Any]) -> Any:
        return page["models"]


@breaks("list.empty")
class ListsWithoutJson(ListsOddly):
    def odd(self, page: dict[str, Any]) -> Any:
        return b"[" * 100_000


@breaks("list.empty")
class CountsItsTokens(ListsOddly):
    def odd(self, page: dict[str, Any]) -> Any:
        return {**page, "nextPageToken": 0}


@breaks("list.fields")
class ListsNothing(ListsOddly):
    def odd(self, page: dict[str, Any]) -> Any:
        return {"models": []}


@breaks("list.fields")
class ListsNames(ListsOddly):
    def odd(self, page: dict[str, Any]) -> Any:
        return {**page, "models": [one["modelName"] for one in page["models"]]}


@breaks("list.fields")
class ListsWithoutUrls(ListsOddly):
    def odd(self, page: dict[str, Any]) -> Any:
        return {**page, "models": [{"modelName": one["modelName"]} for one in page["models"]]}


@breaks("list.models")
class ListsOtherUrls(ListsOddly):
    def odd(self, page: dict[str, Any]) -> Any:
        return {**page, "models": [{**one, "modelUrl": "/opt/ml/models"} for one in page["models"]]}


@breaks("list.models")
class ListsTwice(ListsOddly):
    def odd(self, page: dict[str, Any]) -> Any:
        return {**page, "models": page["models"] * 2}


@breaks("list.models")
class ListsTheLastOnly(ListsOddly):
    def odd(self, page: dict[str, Any]) -> Any:
        return {**page, "models": page["models"][-1:]}


@breaks("list.last-page")
class PromisesMore(Lawful):
    def list(self, token: str) -> Answer:
        page = super().list(token)[1]
        return 200, page if token or not self.loaded else {**page, "nextPageToken": "100"}


@breaks("list.fields", "list.last-page")
class ListsWithoutEnd(Lawful):
    def list(self, token: str) -> Answer:
        return 200, {**super().list("")[1], "nextPageToken": "again"}


@breaks("list.pages")
class AddsAnEmptyPage(Lawful):
    """As multi-model-server does when there are exactly as many models as fit the pages."""

    def list(self, token: str) -> Answer:
        status, page = super().list(token)
        full = len(page["models"]) == 100 and "nextPageToken" not in page
        return status, {**page, "nextPageToken": str(int(token or 0) + 100)} if full else page


@breaks("list.pages")
class RepeatsOnTheSecondPage(Lawful):
    def list(self, token: str) -> Answer:
        return super().list(token) if not token else (200, {"models": [self.described(next(iter(self.loaded)))]})


@breaks("get.fields")
class CannotDescribe(Lawful):
    def get(self, identifier: str) -> Answer:
        return (500, b"") if identifier in self.loaded else self.missing()


@breaks("get.fields")
class DescribesOddly(Lawful):
    def get(self, identifier: str) -> Answer:
        status, said = super().get(identifier)
        return status, {"model": said}


@breaks("get.fields", "get.404", "unload.then-404")
class HangsOnGet(Lawful):
    def get(self, identifier: str) -> Answer:
        self.released.wait()
        return super().get(identifier)


@breaks("get.404", "unload.then-404")
class DescribesWhatIsNotThere(Lawful):
    def get(self, identifier: str) -> Answer:
        return super().get(identifier) if identifier in self.loaded else (200, {})


@breaks("invoke.answer")
class AnswersWrong(Lawful):
    def predicted(self, identifier: str, x: Any) -> Answer:
        return super().predicted(identifier, [number + 1 for number in x])


@breaks("invoke.answer")
class AnswersText(Lawful):
    def predicted(self, identifier: str, x: Any) -> Answer:
        return 200, b"yes"


@breaks("invoke.answer")
class AnswersInItsWay(Lawful):
    def predicted(self, identifier: str, x: Any) -> Answer:
        return 200, {"predictions": []}


@breaks("invoke.404", "unload.then-404")
class FailsForWhatIsNotThere(Lawful):
    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        return super().invoke(identifier, body, headers) if identifier in self.loaded else (503, b"")


@breaks("invoke.content-type")
class CallsItText(Lawful):
    content_type = "text/plain"


@breaks("invoke.content-type")
class CallsItNothing(Lawful):
    content_type = None


class ReadsHeaders(Lawful):
    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        return self.refusal(headers) or super().invoke(identifier, body, headers)

    def refusal(self, headers: Mapping[str, str]) -> Answer | None:
        raise NotImplementedError


@breaks("invoke.custom-attributes")
class RefusesAttributes(ReadsHeaders):
    def refusal(self, headers: Mapping[str, str]) -> Answer | None:
        return (400, b"what attributes?") if routes.CUSTOM_ATTRIBUTES in headers else None


@breaks("invoke.target-model")
class LooksForTheTarget(ReadsHeaders):
    def refusal(self, headers: Mapping[str, str]) -> Answer | None:
        return (
            self.missing() if headers.get(routes.TARGET_MODEL, next(iter(self.loaded), "")) not in self.loaded else None
        )


@breaks("invoke.two-models")
class AsksTheLastLoaded(Lawful):
    def predicted(self, identifier: str, x: Any) -> Answer:
        return super().predicted(list(self.loaded)[-1], x)


@breaks("invoke.largest-body")
class TakesAMebibyte(Lawful):
    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        return (413, b"") if len(body) > 1 << 20 else super().invoke(identifier, body, headers)


@breaks("invoke.client-error")
class CallsErrorsAnswers(Lawful):
    def unfit(self, identifier: str) -> Answer:
        return 200, {"error": "cannot be answered"}


@breaks("invoke.client-error")
class TakesTheBlame(Lawful):
    def unfit(self, identifier: str) -> Answer:
        return 500, b""


@breaks("invoke.after-client-error")
class LosesItsModel(Lawful):
    def unfit(self, identifier: str) -> Answer:
        self.unload(identifier)
        return 400, b""


@breaks("load.200")
class LoadsNothing(Lawful):
    def load(self, identifier: str, url: str) -> Answer:
        return 500, b""


@breaks("load.200")
class LoadsInTheBackground(Lawful):
    def load(self, identifier: str, url: str) -> Answer:
        return 202, b""


@breaks("load.200")
class HangsOnLoad(Lawful):
    def load(self, identifier: str, url: str) -> Answer:
        self.released.wait()
        return super().load(identifier, url)


@breaks("load.200")
class NeverEndsItsAnswer(Lawful):
    def load(self, identifier: str, url: str) -> Answer:
        return 200, self.dribble()

    def dribble(self) -> Iterator[bytes]:
        while not self.released.wait(0.01):
            yield b"."


@breaks("load.opaque-id")
class WantsALetterFirst(Lawful):
    def load(self, identifier: str, url: str) -> Answer:
        return super().load(identifier, url) if identifier[0].isalpha() else (400, b"no name")


@breaks("load.twice-409")
class IsProudOfLoading(Lawful):
    def load(self, identifier: str, url: str) -> Answer:
        return (200, {}) if identifier in self.loaded else super().load(identifier, url)


@breaks("load.twice-changes-nothing")
class ReplacesAndRefuses(Lawful):
    def load(self, identifier: str, url: str) -> Answer:
        refused = identifier in self.loaded
        if refused:
            self.unload(identifier)
        answer = super().load(identifier, url)
        return (409, b"") if refused else answer


@breaks("unload.200")
class UnloadsInTheBackground(Lawful):
    def unload(self, identifier: str) -> Answer:
        status, said = super().unload(identifier)
        return (202, said) if status == 200 else (status, said)


@breaks("unload.200")
class NeverUnloads(Lawful):
    def unload(self, identifier: str) -> Answer:
        return (500, b"") if identifier in self.loaded else self.missing()


@breaks("unload.200")
class HangsOnUnload(Lawful):
    def unload(self, identifier: str) -> Answer:
        if identifier in self.loaded:
            self.released.wait()
        return super().unload(identifier)


@breaks("unload.not-listed")
class ListsWhatItHad(Lawful):
    """The last model that was unloaded stays in the list, with its folder."""

    had: Any = None

    def unload(self, identifier: str) -> Answer:
        self.had = self.described(identifier) if identifier in self.loaded else self.had
        return super().unload(identifier)

    def list(self, token: str) -> Answer:
        page = super().list(token)[1]
        return 200, {**page, "models": page["models"] + [self.had] * bool(self.had)}


@breaks("unload.then-404")
class AnswersOn(Lawful):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.had: dict[str, Any] = {}

    def load(self, identifier: str, url: str) -> Answer:
        answer = super().load(identifier, url)
        self.had.update(self.loaded)
        return answer

    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if identifier in self.loaded or identifier not in self.had:
            return super().invoke(identifier, body, headers)
        return 200, {}


@breaks("unload.404", "unload.then-404")
class UnloadsAnything(Lawful):
    def unload(self, identifier: str) -> Answer:
        return 200, super().unload(identifier)[1]


@breaks("unload.frees-memory")
class KeepsMemory(Lawful):
    most = 0

    def used_bytes(self) -> int:
        self.most = max(self.most, super().used_bytes())
        return self.most


@breaks("load.corrupt", "load.absent")
class LoadsGarbage(Lawful):
    def refused(self, identifier: str, url: str) -> Answer:
        return 200, {}


@breaks("load.corrupt", "load.absent")
class BlamesItsMemory(Lawful):
    def refused(self, identifier: str, url: str) -> Answer:
        return 507, {}


@breaks("load.corrupt", "load.absent", "load.failed-not-listed", "load.after-failed")
class KeepsAGhost(Lawful):
    """A ghost answers 409 to every load until it is unloaded, and is listed."""

    def refused(self, identifier: str, url: str) -> Answer:
        self.loaded[identifier] = url, self.specimens[0]
        return 409, b""


@breaks("load.after-failed")
class RemembersFailures(Lawful):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.failed = set[str]()

    def load(self, identifier: str, url: str) -> Answer:
        return (500, b"") if identifier in self.failed else super().load(identifier, url)

    def refused(self, identifier: str, url: str) -> Answer:
        self.failed.add(identifier)
        return super().refused(identifier, url)


@breaks("ping.after-failed-load")
class IsHurtByAFailure(Lawful):
    """A failed load makes it unhealthy until the next good one."""

    hurt = False

    def ping(self) -> Answer:
        return (500, b"") if self.hurt else super().ping()

    def load(self, identifier: str, url: str) -> Answer:
        self.hurt = False
        return super().load(identifier, url)

    def refused(self, identifier: str, url: str) -> Answer:
        self.hurt = True
        return super().refused(identifier, url)
