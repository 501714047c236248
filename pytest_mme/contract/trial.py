"""What a judge does to a server: calls that are limited in time and written down, and models that go again."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient, Reply
from pytest_mme.errors import NoAnswerError, shown
from pytest_mme.models.archive import extract

if TYPE_CHECKING:
    from pytest_mme.models.builder import Model, Models

HEAVY_MIB = 64
"""The weights of the model that memory is judged by: several times what a tiny model's process takes."""
_MOST_PAGES = 1000
_SHOWN = 300  # characters of a body


class DeviationError(Exception):
    """The server does not do what a clause says."""


class NotJudgedError(Exception):
    """Nothing can be said about a clause."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How many seconds a server may take for its whole answer."""

    ping_s: float = routes.PING_TIMEOUT_S
    load_s: float = routes.LOAD_TIMEOUT_S
    unload_s: float = routes.UNLOAD_TIMEOUT_S
    invoke_s: float = routes.INVOKE_TIMEOUT_S
    look_s: float = 10.0
    """For `GET /models` and `GET /models/ID`. Nobody documents it; the platform lists every 5 s or so."""


CONTRACT_LIMITS = Limits()
"""The contract's own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A running server that is to be judged."""

    client: ContractClient
    models: Path
    """Where models are put for it, on this side."""
    place: Callable[[Path], str]
    """Makes a folder below `models` visible to the server; how the server calls it."""
    used_bytes: Callable[[], int] | None = None
    """What its models use now; None: nobody can tell."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Specimens:
    """The models that a server is judged with; their answers are known."""

    first: Model
    second: Model
    heavy: Model
    """With weights of `HEAVY_MIB`; loaded only where memory is judged."""

    @classmethod
    def build(cls, builder: Models, **spec: Any) -> Specimens:
        """Those that *builder* makes; *spec*: more fields of `ModelSpec`, such as the `handler` that an image needs."""
        first, second = builder.fleet(2, "conformance", **spec)
        return cls(
            first=first,
            second=second,
            heavy=builder.linear("conformance-heavy", **{"weights_mib": HEAVY_MIB, **spec}),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exchange:
    """One call and what came of it."""

    sent: str
    seen: str
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placed:
    """A model whose folder the server can see."""

    identifier: str
    url: str
    """How the server calls the folder."""
    model: Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """One page of `GET /models`."""

    entries: list[Any]
    token: str | None


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
        shown_body = body[:_SHOWN].decode(errors="replace").strip()
        return self._say(
            f"POST {routes.invoke(identifier)} {said}{shown_body} ({len(body)} bytes)",
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

    def pages(self) -> Iterator[Page]:
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
            reply = _answered(call, limit_s)
            seen = f"{reply.status} {_plain(reply.body[:_SHOWN].decode(errors='replace'))}".strip()
        except DeviationError as error:
            seen = str(error)
            raise
        finally:
            self.exchanges.append(Exchange(sent=_plain(sent), seen=seen, seconds=time.monotonic() - start))
        return reply


def opaque() -> str:
    """An id as real endpoints use them, 32 hexadecimal digits; the first is a letter."""
    return f"a{uuid.uuid4().hex[1:]}"


def request(model: Model) -> bytes:
    """The body that asks *model* for its example, TensorFlow Serving's row format."""
    assert model.spec is not None
    return json.dumps({"instances": [model.spec.example]}).encode()


def page_of(reply: Reply) -> Page:
    """A page of the list; raises `DeviationError` when it is none."""
    if reply.status != 200:
        raise DeviationError(f"GET {routes.MODELS} was answered {reply.status}, not 200")
    page = json_object(reply)
    if not isinstance(entries := page.get("models"), list):
        raise DeviationError('`models`, a list, is missing in the answer: expected {"models": […]}')
    token = page.get("nextPageToken")
    if token is not None and not (isinstance(token, str) and token):
        raise DeviationError(f"`nextPageToken` is {shown(token)}, not a string with something in it")
    return Page(entries=entries, token=token)


def json_object(reply: Reply) -> dict[str, Any]:
    """The body of a reply, a JSON object; raises `DeviationError` when it is none."""
    try:
        found = reply.json()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DeviationError("the body is no JSON object")
    return found


def _answered(call: Callable[[], Reply], limit_s: float) -> Reply:
    """The answer of *call*, in a thread of its own: an HTTP client's limits hold for each piece of an answer only."""
    future: Future[Reply] = Future()

    def make() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  whoever waits must hear of it
            future.set_exception(error)

    threading.Thread(target=make, name="judged call", daemon=True).start()
    try:
        return future.result(limit_s)
    except FutureTimeoutError as error:
        _late(limit_s, error)
    except NoAnswerError as error:
        if error.timed_out:
            _late(limit_s, error)
        raise DeviationError(f"no answer: {str(error.cause).rpartition('>: ')[2]}") from error


def _late(limit_s: float, error: Exception) -> NoReturn:
    raise DeviationError(f"no whole answer within {limit_s:g} s") from error


def _plain(text: str) -> str:
    """As it is, if a terminal can show it; quoted otherwise. At most `_SHOWN` characters and some."""
    text = text if len(text) <= 2 * _SHOWN else f"{text[: 2 * _SHOWN]}…"
    return text if text.isprintable() else shown(text, 2 * _SHOWN)
