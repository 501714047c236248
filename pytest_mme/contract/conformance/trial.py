"""The calls that a judge makes to a server, and the models that it loads there and removes again."""

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
    ListPage,
    NotJudgedError,
    beginning,
    page_of,
    printable,
    reply_within,
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
    """The folder's path as the server sees it."""
    model: Model


class Trial:
    """A judge's session with one server. A call without a reply within its limit raises `DeviationError`."""

    def __init__(self, subject: Subject, specimens: Specimens, limits: Limits = CONTRACT_LIMITS) -> None:
        self.subject, self.specimens, self._limits = subject, specimens, limits
        self.exchanges: list[Exchange] = []
        """The calls since the list was last cleared, in order."""
        self.remark = ""
        """A note on a clause that is kept."""
        self.left: list[str] = []
        """Ids of models that the server may still have although their unload was requested."""
        self._folders: dict[str, Path] = {}
        self._perhaps_loaded: set[str] = set()
        self._loading: set[str] = set()
        self._unload_hangs = False

    def ping(self) -> Reply:
        """`GET /ping`."""
        return self._call(f"GET {routes.PING}", self.subject.client.ping, self._limits.ping_s)

    def load(self, placed: Placed) -> Reply:
        """`POST /models`."""
        identifier, limit_s = placed.identifier, self._limits.load_s
        self._perhaps_loaded.add(identifier)
        self._loading.add(identifier)
        body = json.dumps({"model_name": identifier, "url": placed.url})
        reply = self._call(
            f"POST {routes.MODELS} {body}",
            lambda: self.subject.client.load(identifier, placed.url, timeout_s=limit_s),
            limit_s,
        )
        self._loading.discard(identifier)
        return reply

    def page(self, token: str | None = None) -> Reply:
        """`GET /models`, one page."""
        query = f"?next_page_token={token}" if token else ""
        return self._call(f"GET {routes.MODELS}{query}", lambda: self.subject.client.list(token), self._limits.look_s)

    def get(self, identifier: str) -> Reply:
        """`GET /models/ID`."""
        return self._call(
            f"GET {routes.model(identifier)}", lambda: self.subject.client.get(identifier), self._limits.look_s
        )

    def unload(self, identifier: str) -> Reply:
        """`DELETE /models/ID`."""
        limit_s = self._limits.unload_s
        reply = self._call(
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
        sent = "".join(f"{name}: {value}; " for name, value in (headers or {}).items())
        return self._call(
            f"POST {routes.invoke(identifier)} {sent}{beginning(body)} ({len(body)} bytes)",
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
        """The folder of a model on this side, which is removed by `clear`."""
        above = self._folders[identifier] = self.subject.models / identifier
        return above / "model"

    def placed(self, identifier: str, model: Model) -> Placed:
        """Make the folder of *identifier* visible to the server, as it is now."""
        return Placed(identifier=identifier, url=self.subject.place(self.folder(identifier)), model=model)

    def loaded(self, model: Model | None = None, identifier: str | None = None) -> Placed:
        """Put and load a model; raises `NotJudgedError` when the load fails."""
        placed = self.put(model, identifier)
        try:
            reply = self.load(placed)
        except DeviationError as error:
            raise NotJudgedError(f"a model is needed for this, but its load failed: {error}") from error
        if reply.status != 200:
            raise NotJudgedError(f"a model is needed for this, but the reply to its load is {reply.status}")
        return placed

    def pages(self) -> Iterator[ListPage]:
        """The pages of `GET /models`; raises `DeviationError` for other shapes and for a list without an end."""
        token, seen = None, set[str]()
        while len(seen) < _MOST_PAGES:
            page = page_of(self.page(token))
            yield page
            if page.token is None:
                return
            if page.token in seen:
                raise DeviationError(f"the token {shown(page.token)} was given out twice: the list has no end")
            seen.add(token := page.token)
        raise DeviationError(f"the list has more than {_MOST_PAGES} pages")

    def listed(self) -> list[Any]:
        """The entries of `GET /models`, of all pages."""
        return [entry for page in self.pages() for entry in page.entries]

    def identifiers(self) -> list[Any]:
        """The ids in `GET /models`, of all pages."""
        return [entry.get("modelName") for entry in self.listed() if isinstance(entry, dict)]

    def clear(self) -> None:
        """Unload and remove the models that were put, whatever the server's replies."""
        for identifier in list(self._folders):
            if identifier in self._perhaps_loaded and not self._unloaded(identifier):
                self.left.append(identifier)
            self._perhaps_loaded.discard(identifier)
            shutil.rmtree(self._folders.pop(identifier), ignore_errors=True)

    def _unloaded(self, identifier: str) -> bool:
        """Unload a model, unless an unload has hung before: each would take minutes."""
        if self._unload_hangs:
            return False
        before = len(self.exchanges)
        try:
            status = self.unload(identifier).status
        except DeviationError:
            self._unload_hangs = True
            return False
        finally:
            del self.exchanges[before:]
        return status == 200 or (status == routes.NOT_LOADED and identifier not in self._loading)

    def _call(self, sent: str, call: Callable[[], Reply], limit_s: float) -> Reply:
        start, seen = time.monotonic(), "cut off"
        try:
            reply = reply_within(limit_s, call)
            seen = f"{reply.status} {beginning(reply.body)}".strip()
        except DeviationError as error:
            seen = str(error)
            raise
        finally:
            self.exchanges.append(Exchange(sent=printable(sent), seen=seen, seconds=time.monotonic() - start))
        return reply
