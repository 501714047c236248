"""How real containers differ from the contract: what their replies mean, and which container it is.

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
    """What the reply to a load means."""

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
    """What a reply is recognised by: its status, and what its body begins with."""

    status: int
    body: re.Pattern[bytes]

    def matches(self, reply: Reply) -> bool:
        """Whether *reply* has this status and body."""
        return reply.status == self.status and self.body.match(reply.body) is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dialect:
    """What the replies of one kind of container mean. Nothing here calls a server."""

    name: str
    no_memory: frozenset[int] = frozenset({routes.OUT_OF_MEMORY})
    """The statuses that a load may get for lack of memory."""
    lost_signs: tuple[Sign, ...] = ()
    """Replies to an invoke, besides 404, of a model whose process is gone."""
    error_signs: tuple[Sign, ...] = ()
    """Replies to an invoke that hide the status of the model's own error."""
    get_breaks: bool = False
    """Whether `GET /models/ID` gets 500 for each model that the container has, and 404 for the others."""
    ghosts: bool = False
    """Whether a model that failed to load may stay registered until it is deleted, or for ever.

    It documents the dialect (docs/containers.md): the platform deletes a model after every failed load, in any dialect.
    """
    frees_at_unload: bool = False
    """Whether the memory of a model is free when its unload returns."""

    def page(self, reply: Reply) -> Page | None:
        """Read a page of the list from *reply*, whatever its shape; None when it holds none.

        TensorFlow's containers reply ``{ID: {…}}``, give no folder (the `modelUrl` is empty) and have no pages.
        """
        found = json_object(reply) if reply.ok else None
        if found is None:
            return None
        if isinstance(models := found.get("models"), list):
            entries, token = [_read(described) for described in models], found.get("nextPageToken")
            if None in entries:
                return None
            return Page(entries=tuple(filter(None, entries)), token=str(token) if token else None)
        if all(isinstance(described, dict) for described in found.values()):
            return Page(entries=tuple(_entry(identifier) for identifier in found), token=None)
        return None

    def description(self, identifier: str, reply: Reply) -> Entry | None:
        """Read the description of a model from *reply* to `GET /models/ID`; None when it is not loaded, or unclear.

        TensorFlow's containers do not give the folder: the `modelUrl` is empty.
        """
        if self.get_breaks and reply.status == 500:
            return _entry(identifier)
        found = (json_object(reply) or {}) if reply.ok else {}
        return _read(found) or (_entry(identifier) if isinstance(found.get("model"), dict) else None)

    def loading(self, reply: Reply, *, failed_before: bool = False) -> Loading:
        """What *reply* to a load means; *failed_before*: an earlier load of the same id was refused.

        A 409 is then the ghost of that load (assumed: AWS documents nothing). A 408 is how TensorFlow's containers
        reply to a load that takes too long, be it for lack of memory or because the model is broken.
        """
        if reply.ok:
            return Loading.LOADED
        if reply.status == routes.ALREADY_LOADED:
            return Loading.GHOST if failed_before else Loading.ALREADY
        return Loading.NO_MEMORY if reply.status in self.no_memory else Loading.REFUSED

    def lost(self, reply: Reply) -> bool:
        """Whether *reply* to an invoke means that the container has lost the model, not that the model refused.

        Unless it is a 404, the id is still registered, and is loaded again only after it was deleted.
        """
        return reply.status == routes.NOT_LOADED or any(sign.matches(reply) for sign in self.lost_signs)

    def is_prediction(self, reply: Reply) -> bool:
        """Whether *reply* to an invoke is the model's prediction: a 2xx, and not an error in the guise of one."""
        return reply.ok and not self.hides_an_error(reply)

    def hides_an_error(self, reply: Reply) -> bool:
        """Whether *reply* to an invoke is the model's own error, whose status the container does not hand on."""
        return any(sign.matches(reply) for sign in self.error_signs)


_ERROR_ALONE = Sign(status=200, body=re.compile(rb'\s*\{\s*"error"\s*:\s*"(?:[^"\\]|\\.)*"\s*\}\s*\Z'))
_PROCESS_REFUSES = Sign(
    status=500,  # any other connection that is refused may be one that the user's inference.py tried to make
    body=re.compile(
        rb"""\s*\{\s*"error"\s*:\s*"HTTPConnectionPool\(host='localhost'.{0,80}/v1/models/.*Connection refused"""
    ),
)

CONTRACT = Dialect(name="contract", frees_at_unload=True)
"""The contract itself, which the embedded server keeps; also for servers that are not recognised."""

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
"""Read in the handler's source only, not recorded; its message about a dead process is that of 2.1."""

TENSORFLOW_C = Dialect(name="AWS TensorFlow, 2.20", no_memory=frozenset({routes.OUT_OF_MEMORY, 408}))
"""A request to a model whose process is gone gets 404 once, then it may be loaded; `GET /models` is 500 in between."""

MULTI_MODEL_SERVER = Dialect(
    name="multi-model-server",
    lost_signs=(Sign(status=503, body=re.compile(rb'(?s:.*?)"No worker is available')),),
    error_signs=(Sign(status=503, body=re.compile(rb'(?s:.*?)"Prediction failed"')),),
    ghosts=True,
)
"""After a 507 the model stays registered without a worker: 409 to a load, 503 to an invoke, until it is deleted.

While it takes the failed worker down, a `DELETE` of that model may get 404, and the ghost appear afterwards.
"""

DIALECTS = (CONTRACT, TENSORFLOW_A, TENSORFLOW_B, TENSORFLOW_C, MULTI_MODEL_SERVER)
"""All dialects that are known."""


def dialect_of(client: ContractClient) -> Dialect:
    """Recognise a server that has just started, by three calls that load nothing; raises `NoAnswerError`."""
    limit_s = routes.LOOK_TIMEOUT_S
    return recognise(client.ping(), client.list(timeout_s=limit_s), client.get(uuid.uuid4().hex, timeout_s=limit_s))


def recognise(ping: Reply, models: Reply, unknown: Reply) -> Dialect:
    """Recognise the dialect of a server that has just started by three replies; the contract's when nothing else fits.

    *ping*: to `GET /ping`. *models*: to `GET /models`. *unknown*: to `GET /models/ID`, an id that was never loaded.

    TensorFlow's containers are recognised by the message of the third. Those of A and B are the same, without "not" (read
    in their source), so A is taken for B, which understands all replies of A; the one difference is that a load with
    status 408 has other models evicted. A caller that knows the image's name may use `TENSORFLOW_A`.
    """
    error = json_object(unknown) or {}
    if unknown.status != routes.NOT_LOADED:
        return CONTRACT
    if is_contract_list(models):
        is_mms = "status" in (json_object(ping) or {}) and error.get("type") == "ModelNotFoundException"
        return MULTI_MODEL_SERVER if is_mms else CONTRACT
    message = re.fullmatch(r"Model \S+ is (not )?loaded yet\.?", str(error.get("error")))
    if message is None:
        return CONTRACT
    return TENSORFLOW_C if message[1] else TENSORFLOW_B


def is_contract_list(reply: Reply) -> bool:
    """Whether *reply* to `GET /models` has the contract's shape."""
    return reply.ok and isinstance((json_object(reply) or {}).get("models"), list)


def json_object(reply: Reply) -> dict[str, Any] | None:
    """The JSON object in the body of *reply*; None when the body is something else."""
    try:
        found = reply.json()
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _read(described: object) -> Entry | None:
    """Read the contract's two members of a model's description; None when one is missing."""
    if not isinstance(described, dict) or not {"modelName", "modelUrl"} <= described.keys():
        return None
    return _entry(str(described["modelName"]), str(described["modelUrl"]))


def _entry(identifier: str, url: str = "") -> Entry:
    return {"modelName": identifier, "modelUrl": url}
