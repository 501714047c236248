"""A server as a test sees it, at the level of the container contract: no AWS."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pytest_mme.archives.archive import checksum, extract
from pytest_mme.checks.methods import Checked
from pytest_mme.contract.client import ContractClient, Reply
from pytest_mme.contract.deviations import Witness
from pytest_mme.errors import ArchiveError, ContractError
from pytest_mme.models.builder import Model
from pytest_mme.models.spec import DEFAULT_SIGNATURE
from pytest_mme.runtimes.base import Running
from pytest_mme.runtimes.recorded_calls import instance_body, instance_said, known_answer, prediction
from pytest_mme.timeline.events import Event, Timeline


class Server(Checked):
    """Loads, asks and unloads models by their opaque ids. An answer other than 200 is raised as `ContractError`.

    `client` makes the same calls and returns every answer as it is. Where the server's answers leave the contract,
    they are read all the same, and its timeline gets one `deviation` event for each kind.
    """

    storage = None
    """A server has none: it is handed its archives."""

    def __init__(self, running: Running, timeline: Timeline, *, known: Mapping[str, str] | None = None) -> None:
        """*known*: the ids of models that it has loaded already, by their names."""
        self.running, self.name, self.recording = running, running.name, timeline
        self._witness = Witness(running.dialect, timeline, server=running.name, source="client")
        self._logged_before = len(running.log())
        self._identifiers = dict(known or {})
        self._answering = set(self._identifiers)
        self.loaded: dict[str, Model] = {}
        """Every model that was to be loaded, by its name."""

    @property
    def client(self) -> ContractClient:
        """The contract's calls, answers returned as they are."""
        return self.running.client

    @property
    def timeline(self) -> Sequence[Event]:
        """What happened to it until now, in order."""
        self.running.catch_up()
        return self.recording.of(self.name)

    @property
    def log(self) -> str:
        """What it has logged since this test has it: a JSON line per event, and what models and handlers print.

        An ``invoke`` line carries the request's id as `request`: it is the `RequestId` that boto3 saw.
        """
        self.running.catch_up()
        return self.running.log()[self._logged_before :]

    def ping(self) -> Reply:
        """`GET /ping`."""
        return self._witness.hear("ping", self.client.ping()).expect("GET /ping")

    def load(self, model: Model) -> str:
        """Put the archive where the server sees it and load it; the id that the server knows it by.

        Raises `ArchiveError` for what is no archive, `ContractError` for what the server does not load; nothing of
        it is left on disk then.
        """
        identifier = uuid.uuid4().hex
        folder = self.running.models / identifier / "model"
        try:
            self._unpack(model, folder)
            self.recording.name_model(identifier, model.name)
            if model.name not in self._answering:
                self._identifiers[model.name] = identifier
            self.loaded[model.name] = model
            said = {"archive": checksum(model.archive)}
            self._call("load", model, lambda: self.client.load(identifier, self.running.place(folder)), said=said)
        except (ArchiveError, ContractError, OSError):
            shutil.rmtree(folder.parent, ignore_errors=True)
            raise
        self._identifiers[model.name] = identifier
        self._answering.add(model.name)
        return identifier

    def _unpack(self, model: Model, folder: Path) -> None:
        try:
            extract(model.archive, folder)
        except ArchiveError as error:
            detail = {"error": error.seen} | ({"archive": checksum(model.archive)} if model.archive.is_file() else {})
            self.recording.record(
                "load", source="client", server=self.name, model=model.name, outcome="not unpacked", detail=detail
            )
            raise

    def list(self) -> list[dict[str, str]]:
        """`GET /models`, all pages: ``modelName`` (the id) and ``modelUrl`` of each.

        The URL is empty where the server does not tell it, as AWS's TensorFlow containers do not.
        """
        models: list[dict[str, str]] = []
        token: str | None = ""
        while token is not None:
            reply = self._witness.hear("next page" if token else "list", self.client.list(token))
            page = self.running.dialect.page(reply)
            if page is None:
                raise ContractError("GET /models", reply.status, reply.text)
            models += page.entries
            token = page.token
        return models

    def get(self, model: Model) -> dict[str, str]:
        """`GET /models/ID`: ``modelName`` (the id) and ``modelUrl``, which is empty where the server does not tell it."""
        identifier = self.identifier(model)
        reply = self._witness.hear("get", self.client.get(identifier))
        described = self.running.dialect.described(identifier, reply)
        if described is None:
            raise ContractError(f"get of {model.name}", reply.status, reply.text)
        return described

    def unload(self, model: Model) -> None:
        """`DELETE /models/ID`: when it returns, the model's memory is free."""
        self._call("unload", model, lambda: self.client.unload(self.identifier(model)))
        self._answering.discard(model.name)

    def invoke(self, model: Model, x: Any, *, signature: str = DEFAULT_SIGNATURE, before: float | None = None) -> Any:
        """What *model* predicts for the one instance *x*."""
        body, known = instance_body(x, signature), known_answer(model, x, signature, before)
        said = instance_said(body, signature, before)
        reply = self._call("invoke", model, lambda: self.client.invoke(self.identifier(model), body), known, said)
        return prediction(reply)

    def _call(
        self,
        kind: Literal["load", "unload", "invoke"],
        model: Model,
        call: Callable[[], Reply],
        known: Mapping[str, Any] | None = None,
        said: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Make a call of the contract and record it as the client saw it: *said*, and a good answer beside the *known*."""
        start, outcome, detail = time.monotonic(), "no answer", dict(said or {})
        try:
            reply = self._witness.hear(kind, call())
            good = self.running.dialect.answered(reply) if kind == "invoke" else reply.ok
            outcome = "ok" if good else str(reply.status)
            if not good:
                detail["error"] = reply.text
            elif known:
                detail |= {**known, "got": prediction(reply)}
        finally:
            self.recording.record(
                kind,
                source="client",
                server=self.name,
                model=model.name,
                outcome=outcome,
                seconds=time.monotonic() - start,
                detail=detail,
            )
        if not good:
            raise ContractError(f"{kind} of {model.name}", reply.status, reply.text)
        return reply

    def identifier(self, model: Model) -> str:
        """The id that *model* was last loaded under; KeyError when it never was.

        While it is loaded once more, requests go to what answers already.
        """
        try:
            return self._identifiers[model.name]
        except KeyError:
            raise KeyError(f"{model.name} was never loaded on {self.name}: call server.load first") from None
