"""What a judge does to a server: calls that are limited in time and written down, and models that go again."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mme.archives.archive import extract
from pytest_mme.contract import routes
from pytest_mme.contract.client import Reply
from pytest_mme.contract.conformance.exchange import (
    DeviationError,
    Exchange,
    LawfulPage,
    NotJudgedError,
    answered,
    page_of,
    plain,
    words,
)
from pytest_mme.contract.conformance.subject import CONTRACT_LIMITS, Limits, Specimens, Subject, opaque
from pytest_mme.errors import shown

if TYPE_CHECKING:
    from pytest_mme.models.builder import Model

_MOST_PAGES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placed:
    """A model whose folder the server can see."""

    identifier: str
    url: str
    """How the server calls the folder."""
    model: Model


class Trial:
    """One judging of one server. A call that is not answered within its limit is a `DeviationError`."""

    def __init__(self, subject: Subject, specimens: Specimens, limits: Limits = CONTRACT_LIMITS) -> None:
        self.subject, self.specimens, self._limits = subject, specimens, limits
        self.exchanges: list[Exchange] = []
        """What was said since somebody emptied it."""
        self.remark = ""
        """What there is to say of a clause that is kept."""
        self.left: list[str] = []
        """Ids that the server may still hold although it was told to unload them."""
        self._folders: dict[str, Path] = {}
        self._perhaps_loaded: set[str] = set()
        self._loading: set[str] = set()
        self._deaf = False

    def ping(self) -> Reply:
        """`GET /ping`."""
        return self._say(f"GET {routes.PING}", self.subject.client.ping, self._limits.ping_s)

    def load(self, placed: Placed) -> Reply:
        """`POST /models`."""
        identifier, limit_s = placed.identifier, self._limits.load_s
        self._perhaps_loaded.add(identifier)
        self._loading.add(identifier)
        order = json.dumps({"model_name": identifier, "url": placed.url})
        reply = self._say(
            f"POST {routes.MODELS} {order}",
            lambda: self.subject.client.load(identifier, placed.url, timeout_s=limit_s),
            limit_s,
        )
        self._loading.discard(identifier)
        return reply

    def page(self, token: str | None = None) -> Reply:
        """`GET /models`, one page."""
        asked = f"?next_page_token={token}" if token else ""
        return self._say(f"GET {routes.MODELS}{asked}", lambda: self.subject.client.list(token), self._limits.look_s)

    def get(self, identifier: str) -> Reply:
        """`GET /models/ID`."""
        return self._say(
            f"GET {routes.model(identifier)}", lambda: self.subject.client.get(identifier), self._limits.look_s
        )

    def unload(self, identifier: str) -> Reply:
        """`DELETE /models/ID`."""
        limit_s = self._limits.unload_s
        reply = self._say(
            f"DELETE {routes.model(identifier)}",
            lambda: self.subject.client.unload(identifier, timeout_s=limit_s),
            limit_s,
        )
        if reply.status in (200, routes.NOT_LOADED):
            self._perhaps_loaded.discard(identifier)
        return reply

    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        """`POST /models/ID/invoke`."""
        limit_s = self._limits.invoke_s
        said = "".join(f"{name}: {value}; " for name, value in (headers or {}).items())
        return self._say(
            f"POST {routes.invoke(identifier)} {said}{words(body)} ({len(body)} bytes)",
            lambda: self.subject.client.invoke(identifier, body, headers, timeout_s=limit_s),
            limit_s,
        )

    def put(self, model: Model | None = None, identifier: str | None = None) -> Placed:
        """Unpack *model* (by default the first one) where the server sees it, in place of what lies there."""
        model = model or self.specimens.first
        identifier = identifier or opaque()
        folder = self.folder(identifier)
        shutil.rmtree(folder, ignore_errors=True)
        extract(model.archive, folder)
        return self.placed(identifier, model)

    def folder(self, identifier: str) -> Path:
        """Where the model of an id lies on this side; it goes when the trial is cleared."""
        above = self._folders[identifier] = self.subject.models / identifier
        return above / "model"

    def placed(self, identifier: str, model: Model) -> Placed:
        """Show the server what lies in the folder of *identifier*."""
        return Placed(identifier=identifier, url=self.subject.place(self.folder(identifier)), model=model)

    def loaded(self, model: Model | None = None, identifier: str | None = None) -> Placed:
        """A model that is loaded; where it cannot be, there is nothing to judge."""
        placed = self.put(model, identifier)
        try:
            reply = self.load(placed)
        except DeviationError as error:
            raise NotJudgedError(f"a model is needed for this, but its load failed: {error}") from error
        if reply.status != 200:
            raise NotJudgedError(f"a model is needed for this, but its load was answered {reply.status}")
        return placed

    def pages(self) -> Iterator[LawfulPage]:
        """The pages of `GET /models`, which must look like pages, and come to an end."""
        token, given = None, set[str]()
        while len(given) < _MOST_PAGES:
            page = page_of(self.page(token))
            yield page
            if page.token is None:
                return
            if page.token in given:
                raise DeviationError(f"the token {shown(page.token)} was given out twice: the list has no end")
            given.add(token := page.token)
        raise DeviationError(f"the list has more than {_MOST_PAGES} pages")

    def listed(self) -> list[Any]:
        """What `GET /models` names, on all pages."""
        return [entry for page in self.pages() for entry in page.entries]

    def identifiers(self) -> list[Any]:
        """The ids that `GET /models` names, on all pages."""
        return [entry.get("modelName") for entry in self.listed() if isinstance(entry, dict)]

    def clear(self) -> None:
        """Unload and remove what was put, whatever the server says to it."""
        for identifier in list(self._folders):
            if identifier in self._perhaps_loaded and not self._unloaded(identifier):
                self.left.append(identifier)
            self._perhaps_loaded.discard(identifier)
            shutil.rmtree(self._folders.pop(identifier), ignore_errors=True)

    def _unloaded(self, identifier: str) -> bool:
        """Unload; a server that let one such call wait in vain is not asked again: each would take minutes."""
        if self._deaf:
            return False
        told = len(self.exchanges)
        try:
            status = self.unload(identifier).status
        except DeviationError:
            self._deaf = True
            return False
        finally:
            del self.exchanges[told:]
        return status == 200 or (status == routes.NOT_LOADED and identifier not in self._loading)

    def _say(self, sent: str, call: Callable[[], Reply], limit_s: float) -> Reply:
        start, seen = time.monotonic(), "cut off"
        try:
            reply = answered(call, limit_s)
            seen = f"{reply.status} {words(reply.body)}".strip()
        except DeviationError as error:
            seen = str(error)
            raise
        finally:
            self.exchanges.append(Exchange(sent=plain(sent), seen=seen, seconds=time.monotonic() - start))
        return reply
