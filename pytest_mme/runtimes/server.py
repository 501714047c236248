"""A server as a test holds it, at the level of the container contract: no AWS."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pytest_mme.archives.archive import checksum, extract
from pytest_mme.checks.methods import Checked
from pytest_mme.contract.client import ContractClient, Reply
from pytest_mme.contract.deviations import DeviationRecorder
from pytest_mme.errors import ArchiveError, ContractError
from pytest_mme.models.builder import Model
from pytest_mme.models.by_name import by_name
from pytest_mme.models.spec import DEFAULT_SIGNATURE
from pytest_mme.runtimes.base import Running
from pytest_mme.runtimes.recorded_calls import RecordedCall, RecordedInvoke, recorded
from pytest_mme.timeline.events import Timeline


class Server(Checked):
    """Loads, invokes and unloads models by their opaque ids; raises `ContractError` for a reply other than 200.

    `client` makes the same calls and returns every reply as it is. A reply that deviates from the contract is
    understood all the same, and the timeline gets one `deviation` event for each kind of deviation.
    """

    running: Running
    platform: None = None
    """A server has no platform's side, with archives in S3 and a disk: tests hand it its archives."""

    def __init__(self, running: Running, timeline: Timeline, *, loaded: Mapping[str, Model] | None = None) -> None:
        """*loaded*: the models that the server has loaded already, by their ids."""
        self.running, self.name, self.recording = running, running.name, timeline
        self.in_effect: list[Any] = []
        """The faults that have begun and not ended."""
        self._deviations = DeviationRecorder(running.dialect, timeline, server=running.name, source="client")
        self._logged_before = len(running.log())
        self._identifiers = {model.name: identifier for identifier, model in (loaded or {}).items()}
        self._resident = set(self._identifiers)
        self.models: dict[str, Model] = {model.name: model for model in (loaded or {}).values()}
        """Every model that it has loaded or was asked to load, by name."""

    @property
    def client(self) -> ContractClient:
        """Makes the contract's calls and returns the replies as they are."""
        return self.running.client

    @property
    def log(self) -> str:
        """What the server has logged since this test has it: a JSON line per event, and what models and handlers print.

        An ``invoke`` line carries the request's id as `request`: it is the `RequestId` that boto3 saw.
        """
        self.running.catch_up()
        log = self.running.log()
        return log[self._logged_before :] if len(log) >= self._logged_before else log

    def log_from_now(self) -> None:
        """Let `log` begin here: another test has the server now."""
        self._logged_before = len(self.running.log())

    def ping(self) -> Reply:
        """`GET /ping`."""
        return self._deviations.record("ping", self.client.ping()).expect("GET /ping")

    def model(self, model: Model | str) -> Model:
        """The model of that name, which was loaded here before; a model itself is returned as it is.

        Raises TypeError for a name that is not known.
        """
        return by_name(model, self.models, self.name)

    def load(self, model: Model | str) -> str:
        """Unpack the model's archive where the server sees it, load it, and return the id that the server knows it by.

        Raises `ArchiveError` for a file that is not an archive, `ContractError` when the server does not load it; then
        nothing of it is left on disk. A name stands for a model that was loaded here before.
        """
        model = self.model(model)
        identifier = uuid.uuid4().hex
        folder = self.running.models / identifier / "model"
        try:
            self._unpack(model, folder)
            self.recording.name_model(identifier, model.name)
            if model.name not in self._resident:
                self._identifiers[model.name] = identifier
            self.models[model.name] = model
            place = self.running.place
            self._call("load", model, lambda: self.client.load(identifier, place(folder)), checksum(model.archive))
        except (ArchiveError, ContractError, OSError):
            shutil.rmtree(folder.parent, ignore_errors=True)
            raise
        self._identifiers[model.name] = identifier
        self._resident.add(model.name)
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

        The URL is empty where the server does not give it, as AWS's TensorFlow containers do not.
        """
        models: list[dict[str, str]] = []
        token: str | None = ""
        while token is not None:
            reply = self._deviations.record("next page" if token else "list", self.client.list(token))
            page = self.running.dialect.page(reply)
            if page is None:
                raise ContractError("GET /models", reply.status, reply.text)
            models += page.entries
            token = page.token
        return models

    def get(self, model: Model | str) -> dict[str, str]:
        """`GET /models/ID`: ``modelName`` (the id) and ``modelUrl``, which is empty where the server does not give it."""
        model = self.model(model)
        identifier = self.identifier(model)
        reply = self._deviations.record("get", self.client.get(identifier))
        described = self.running.dialect.description(identifier, reply)
        if described is None:
            raise ContractError(f"get of {model.name}", reply.status, reply.text)
        return described

    def unload(self, model: Model | str) -> None:
        """`DELETE /models/ID`: when it returns, the model's memory is free."""
        model = self.model(model)
        self._call("unload", model, lambda: self.client.unload(self.identifier(model)))
        self._resident.discard(model.name)

    def invoke(
        self, model: Model | str, x: Any, *, signature: str = DEFAULT_SIGNATURE, before: float | None = None
    ) -> Any:
        """Ask *model*, or the one of that name, for the one instance *x* and return its prediction.

        *before* is what a counter is known to have counted, for the expected value that is recorded.
        """
        model = self.model(model)
        request = RecordedInvoke.of(model, x, signature, before)
        with recorded(self.recording, request, source="client", server=self.name):
            reply = self._deviations.record("invoke", self.client.invoke(self.identifier(model), request.body))
            if not self.running.dialect.is_prediction(reply):
                raise request.refused(reply)
            return request.prediction(reply)

    def _call(
        self, kind: Literal["load", "unload"], model: Model, send: Callable[[], Reply], archive: str | None = None
    ) -> None:
        """Make a call and record it, with the checksum of the *archive* where there is one."""
        call = RecordedCall(kind=kind, model=model.name, detail={"archive": archive} if archive else {})
        with recorded(self.recording, call, source="client", server=self.name):
            reply = self._deviations.record(kind, send())
            if not reply.ok:
                raise call.refused(reply)
            call.outcome = "ok"

    def identifier(self, model: Model | str) -> str:
        """The id that *model* was last loaded under; KeyError when it never was.

        While it is being loaded once more, requests go to the one that is in memory already.
        """
        name = self.model(model).name
        try:
            return self._identifiers[name]
        except KeyError:
            raise KeyError(f"{name} was never loaded on {self.name}: call server.load first") from None
