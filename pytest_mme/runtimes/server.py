"""A server as a test sees it, at the level of the container contract: no AWS."""

from __future__ import annotations

import shutil
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
from pytest_mme.runtimes.recorded_calls import RecordedCall, RecordedInvoke, recorded
from pytest_mme.timeline.events import Event, Timeline


class Server(Checked):
    """Loads, asks and unloads models by their opaque ids. An answer other than 200 is raised as `ContractError`.

    `client` makes the same calls and returns every answer as it is. Where the server's answers leave the contract,
    they are read all the same, and its timeline gets one `deviation` event for each kind.
    """

    platform: None = None
    """Nobody plays the platform for a server; `Endpoint.platform` does for an endpoint."""

    def __init__(self, running: Running, timeline: Timeline, *, loaded: Mapping[str, Model] | None = None) -> None:
        """*loaded*: the models that the server has loaded already, by their ids."""
        self.running, self.name, self.recording = running, running.name, timeline
        self._witness = Witness(running.dialect, timeline, server=running.name, source="client")
        self._logged_before = len(running.log())
        self._identifiers = {model.name: identifier for identifier, model in (loaded or {}).items()}
        self._answering = set(self._identifiers)
        self.models: dict[str, Model] = {model.name: model for model in (loaded or {}).values()}
        """Every model that it has loaded or was asked to load, by name."""

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
            self.models[model.name] = model
            place = self.running.place
            self._call("load", model, lambda: self.client.load(identifier, place(folder)), checksum(model.archive))
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
        """Ask *model* for the one instance *x* and return its prediction.

        *before* is what a counter is known to have counted, for the expected value that is recorded.
        """
        request = RecordedInvoke.of(model, x, signature, before)
        with recorded(self.recording, request, source="client", server=self.name):
            reply = self._witness.hear("invoke", self.client.invoke(self.identifier(model), request.body))
            if not self.running.dialect.answered(reply):
                raise request.refused(reply)
            return request.prediction(reply)

    def _call(
        self, kind: Literal["load", "unload"], model: Model, send: Callable[[], Reply], archive: str | None = None
    ) -> None:
        """Make a call and record it, with the checksum of the *archive* where there is one."""
        call = RecordedCall(kind=kind, model=model.name, detail={"archive": archive} if archive else {})
        with recorded(self.recording, call, source="client", server=self.name):
            reply = self._witness.hear(kind, send())
            if not reply.ok:
                raise call.refused(reply)
            call.outcome = "ok"

    def identifier(self, model: Model) -> str:
        """The id that *model* was last loaded under; KeyError when it never was.

        While it is loaded once more, requests go to what answers already.
        """
        try:
            return self._identifiers[model.name]
        except KeyError:
            raise KeyError(f"{model.name} was never loaded on {self.name}: call server.load first") from None
