"""Servers that are wrong in load or unload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.unit.contract.lawful import Lawful, Response
from tests.unit.contract.unlawful.breaking import breaks


@breaks("load.200")
class LoadsNothing(Lawful):
    def load(self, identifier: str, url: str) -> Response:
        return 500, b""


@breaks("load.200")
class LoadsInTheBackground(Lawful):
    def load(self, identifier: str, url: str) -> Response:
        return 202, b""


@breaks("load.200")
class HangsOnLoad(Lawful):
    def load(self, identifier: str, url: str) -> Response:
        self.released.wait()
        return super().load(identifier, url)


@breaks("load.200")
class NeverEndsItsReply(Lawful):
    def load(self, identifier: str, url: str) -> Response:
        return 200, self.dribble()

    def dribble(self) -> Iterator[bytes]:
        while not self.released.wait(0.01):
            yield b"."


@breaks("load.opaque-id")
class WantsALetterAtTheStartOfIds(Lawful):
    def load(self, identifier: str, url: str) -> Response:
        return super().load(identifier, url) if identifier[0].isalpha() else (400, b"no name")


@breaks("load.twice-409")
class LoadsTwice(Lawful):
    def load(self, identifier: str, url: str) -> Response:
        return (200, {}) if identifier in self.loaded else super().load(identifier, url)


@breaks("load.twice-changes-nothing")
class ReplacesAndRefuses(Lawful):
    def load(self, identifier: str, url: str) -> Response:
        refused = identifier in self.loaded
        if refused:
            self.unload(identifier)
        response = super().load(identifier, url)
        return (409, b"") if refused else response


@breaks("unload.200")
class UnloadsInTheBackground(Lawful):
    def unload(self, identifier: str) -> Response:
        status, body = super().unload(identifier)
        return (202 if status == 200 else status), body


@breaks("unload.200")
class NeverUnloads(Lawful):
    def unload(self, identifier: str) -> Response:
        return (500, b"") if identifier in self.loaded else self.missing()


@breaks("unload.200")
class HangsOnUnload(Lawful):
    def unload(self, identifier: str) -> Response:
        if identifier in self.loaded:
            self.released.wait()
        return super().unload(identifier)


@breaks("unload.not-listed")
class ListsUnloadedModels(Lawful):
    """The last model that was unloaded stays in the list, with its folder."""

    had: Any = None

    def unload(self, identifier: str) -> Response:
        self.had = self.described(identifier) if identifier in self.loaded else self.had
        return super().unload(identifier)

    def list(self, token: str) -> Response:
        page = super().list(token)[1]
        return 200, {**page, "models": page["models"] + [self.had] * bool(self.had)}


@breaks("unload.then-404")
class RepliesAfterUnload(Lawful):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.had: dict[str, Any] = {}

    def load(self, identifier: str, url: str) -> Response:
        response = super().load(identifier, url)
        self.had.update(self.loaded)
        return response

    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str]) -> Response:
        if identifier in self.loaded or identifier not in self.had:
            return super().invoke(identifier, body, headers)
        return 200, {}


@breaks("unload.404", "unload.then-404")
class UnloadsAnything(Lawful):
    def unload(self, identifier: str) -> Response:
        return 200, super().unload(identifier)[1]


@breaks("unload.frees-memory")
class FreesNoMemory(Lawful):
    most = 0

    def used_bytes(self) -> int:
        self.most = max(self.most, super().used_bytes())
        return self.most


@breaks("load.corrupt", "load.absent")
class LoadsGarbage(Lawful):
    def refused(self, identifier: str, url: str) -> Response:
        return 200, {}


@breaks("load.corrupt", "load.absent")
class RepliesThatMemoryIsShort(Lawful):
    def refused(self, identifier: str, url: str) -> Response:
        return 507, {}


@breaks("load.corrupt", "load.absent", "load.failed-not-listed", "load.after-failed")
class KeepsAGhost(Lawful):
    """A ghost answers 409 to every load until it is unloaded, and is listed."""

    def refused(self, identifier: str, url: str) -> Response:
        self.loaded[identifier] = url, self.specimens[0]
        return 409, b""


@breaks("load.after-failed")
class RemembersFailures(Lawful):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.failed = set[str]()

    def load(self, identifier: str, url: str) -> Response:
        return (500, b"") if identifier in self.failed else super().load(identifier, url)

    def refused(self, identifier: str, url: str) -> Response:
        self.failed.add(identifier)
        return super().refused(identifier, url)


@breaks("ping.after-failed-load")
class IsUnhealthyAfterAFailure(Lawful):
    """A failed load makes it unhealthy until the next good one."""

    hurt = False

    def ping(self) -> Response:
        return (500, b"") if self.hurt else super().ping()

    def load(self, identifier: str, url: str) -> Response:
        self.hurt = False
        return super().load(identifier, url)

    def refused(self, identifier: str, url: str) -> Response:
        self.hurt = True
        return super().refused(identifier, url)
