"""How real containers differ from the contract: what their answers mean, and which container it is.

Source, unless a line says otherwise: exchanges recorded with AWS's TensorFlow handlers (images 2.1 and 2.20) and with
multi-model-server 1.1.11 and sagemaker-inference 1.10.1. Most are in tests/transcripts.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import uuid
from typing import Any

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient, Reply

Entry = dict[str, str]
"""A loaded model as the contract describes it: `modelName`, its id, and `modelUrl`, its folder."""


class Loading(enum.Enum):
    """What the answer to a load means."""

    LOADED = "loaded"
    ALREADY = "already there"
    GHOST = "left of a load that failed"
    NO_MEMORY = "no memory"
    REFUSED = "refused"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """One page of the list of loaded models."""

    entries: tuple[Entry, ...]
    token: str | None
    """Asks for the page that follows; None on the last one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sign:
    """How an answer is known: its status, and what its body begins with."""

    status: int
    body: re.Pattern[bytes]

    def on(self, reply: Reply) -> bool:
        """Whether *reply* bears it."""
        return reply.status == self.status and self.body.match(reply.body) is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dialect:
    """What the answers of one kind of container mean. Nothing here asks a server."""

    name: str
    no_memory: frozenset[int] = frozenset({routes.OUT_OF_MEMORY})
    """The statuses of a load that lack of memory may be the reason for."""
    lost_signs: tuple[Sign, ...] = ()
    """Answers to an invoke, besides 404, of a model whose process is gone."""
    error_signs: tuple[Sign, ...] = ()
    """Answers to an invoke that hide the status of the model's own error."""
    get_breaks: bool = False
    """Whether `GET /models/ID` is answered 500 for each model that the container has, and 404 for the others."""
    ghosts: bool = False
    """Whether a model that failed to load may stay registered until it is deleted, or for ever."""
    frees_at_unload: bool = False
    """Whether the memory of a model is free when its unload returns."""

    def page(self, reply: Reply) -> Page | None:
        """The page of the list in *reply*, which tells by its shape how to read it; None when there is none.

        TensorFlow's containers answer ``{ID: {…}}``, give no folder (the `modelUrl` is empty) and know no pages.
        """
        found = json_object(reply) if reply.ok else None
        if found is None:
            return None
        if isinstance(models := found.get("models"), list):
            return _contract_page(models, found.get("nextPageToken"))
        if all(isinstance(described, dict) for described in found.values()):
            return Page(entries=tuple(_entry(identifier) for identifier in found), token=None)
        return None

    def described(self, identifier: str, reply: Reply) -> Entry | None:
        """What *reply* to `GET /models/ID` says of the model *identifier*; None when it is not loaded, or unclear.

        TensorFlow's containers do not say the folder: the `modelUrl` is empty.
        """
        if self.get_breaks and reply.status == 500:
            return _entry(identifier)
        found = (json_object(reply) or {}) if reply.ok else {}
        return _read(found) or (_entry(identifier) if isinstance(found.get("model"), dict) else None)

    def loading(self, reply: Reply, *, failed_before: bool = False) -> Loading:
        """What *reply* to a load means; *failed_before*: an earlier load of the same id was refused.

        A 409 is then the ghost of that load (assumed: AWS documents nothing). A 408 is how TensorFlow's containers
        answer a load that takes too long, be it for lack of memory or because the model is broken.
        """
        if reply.ok:
            return Loading.LOADED
        if reply.status == routes.ALREADY_LOADED:
            return Loading.GHOST if failed_before else Loading.ALREADY
        return Loading.NO_MEMORY if reply.status in self.no_memory else Loading.REFUSED

    def lost(self, reply: Reply) -> bool:
        """Whether *reply* to an invoke says that the container has the model no more, not that the model refused.

        After anything but a 404 the id is still registered, and loads again only once it was deleted.
        """
        return reply.status == routes.NOT_LOADED or any(sign.on(reply) for sign in self.lost_signs)

    def answered(self, reply: Reply) -> bool:
        """Whether *reply* to an invoke is the model's prediction: a 2xx, and no error that looks like one."""
        return reply.ok and not any(sign.on(reply) for sign in self.error_signs)


_ERROR_ALONE = Sign(status=200, body=re.compile(rb'\s*\{\s*"error"\s*:\s*"(?:[^"\\]|\\.)*"\s*\}\s*\Z'))
_PROCESS_REFUSES = Sign(
    status=500,  # any other connection that is refused may be one that the user's inference.py tried to make
    body=re.compile(
        rb"""\s*\{\s*"error"\s*:\s*"HTTPConnectionPool\(host='localhost'.{0,80}/v1/models/.*Connection refused"""
    ),
)

CONTRACT = Dialect(name="contract", frees_at_unload=True)
"""The contract itself, which the embedded server keeps. Also for servers that nobody knows."""

TENSORFLOW_A = Dialect(
    name="AWS TensorFlow, up to 2.11",
    lost_signs=(_PROCESS_REFUSES,),
    error_signs=(_ERROR_ALONE,),
    get_breaks=True,
    ghosts=True,
)
"""A load that takes too long kills the handler: 502, every model is forgotten, and of their ids none loads again."""

TENSORFLOW_B = dataclasses.replace(
    TENSORFLOW_A, name="AWS TensorFlow, 2.12 to 2.19", no_memory=frozenset({routes.OUT_OF_MEMORY, 408})
)
"""Not recorded: read in the handler's source only, and its words for a dead process taken from 2.1."""

TENSORFLOW_C = Dialect(name="AWS TensorFlow, 2.20", no_memory=frozenset({routes.OUT_OF_MEMORY, 408}))
"""A model whose process is gone is answered 404 once, and may then be loaded; `GET /models` is 500 in between."""

MULTI_MODEL_SERVER = Dialect(
    name="multi-model-server",
    lost_signs=(Sign(status=503, body=re.compile(rb'(?s:.*?)"No worker is available')),),
    error_signs=(Sign(status=503, body=re.compile(rb'(?s:.*?)"Prediction failed"')),),
    ghosts=True,
)
"""After a 507 the model stays registered without a worker: 409 to a load, 503 to an invoke, until it is deleted.

While it takes the failed worker down, a `DELETE` of that model may be answered 404, and the ghost come up afterwards.
"""

DIALECTS = (CONTRACT, TENSORFLOW_A, TENSORFLOW_B, TENSORFLOW_C, MULTI_MODEL_SERVER)
"""All that are known."""


def dialect_of(client: ContractClient) -> Dialect:
    """Ask a server that just came up for what `recognise` needs. Loads nothing; raises `NoAnswerError`."""
    limit_s = routes.LOOK_TIMEOUT_S
    return recognise(client.ping(), client.list(timeout_s=limit_s), client.get(uuid.uuid4().hex, timeout_s=limit_s))


def recognise(ping: Reply, models: Reply, unknown: Reply) -> Dialect:
    """Which dialect a fresh server speaks, by its replies to three questions; the contract's when nothing tells.

    *ping*: to `GET /ping`. *models*: to `GET /models`. *unknown*: to `GET /models/ID`, an id that was never loaded.

    TensorFlow's containers are told by their words for that. A and B both leave out "not" (read in their source), so
    A is taken for B, which reads whatever A may say: it differs in that a load answered 408 has others evicted.
    Whoever knows better, by the image's name, may say `TENSORFLOW_A`.
    """
    said = json_object(unknown) or {}
    if unknown.status != routes.NOT_LOADED:
        return CONTRACT
    if is_contract_list(models):
        its_own = "status" in (json_object(ping) or {}) and said.get("type") == "ModelNotFoundException"
        return MULTI_MODEL_SERVER if its_own else CONTRACT
    words = re.fullmatch(r"Model \S+ is (not )?loaded yet\.?", str(said.get("error")))
    if words is None:
        return CONTRACT
    return TENSORFLOW_C if words[1] else TENSORFLOW_B


def is_contract_list(reply: Reply) -> bool:
    """Whether *reply* to `GET /models` has the contract's shape."""
    return reply.ok and isinstance((json_object(reply) or {}).get("models"), list)


def json_object(reply: Reply) -> dict[str, Any] | None:
    """The JSON object in the body of *reply*; None when it holds something else."""
    try:
        found = reply.json()
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _contract_page(models: list[Any], token: object) -> Page | None:
    entries = [_read(described) for described in models]
    if None in entries:
        return None
    return Page(entries=tuple(entry for entry in entries if entry), token=str(token) if token else None)


def _read(described: object) -> Entry | None:
    """The contract's two members of a model's description; None when one is missing."""
    if not isinstance(described, dict) or not {"modelName", "modelUrl"} <= described.keys():
        return None
    return _entry(str(described["modelName"]), str(described["modelUrl"]))


def _entry(identifier: str, url: str = "") -> Entry:
    return {"modelName": identifier, "modelUrl": url}
