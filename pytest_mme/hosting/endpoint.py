"""An endpoint: a server and the platform's side of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_mme.aws import wire
from pytest_mme.aws.moto import Aws
from pytest_mme.aws.s3_folder import S3Folder
from pytest_mme.checks.methods import Checked
from pytest_mme.contract.client import Reply
from pytest_mme.hosting.instance import Instance
from pytest_mme.hosting.spec import EndpointSpec
from pytest_mme.models.builder import Model
from pytest_mme.models.spec import DEFAULT_SIGNATURE
from pytest_mme.runtimes.base import Running
from pytest_mme.runtimes.recorded_calls import instance_body, instance_said, known_answer, prediction
from pytest_mme.timeline.events import Event, Timeline

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


class Endpoint(Checked):
    """A multi-model endpoint that boto3 can reach under its name."""

    def __init__(
        self,
        name: str,
        server: Running,
        aws: Aws,
        storage: S3Folder,
        instance: Instance,
        spec: EndpointSpec,
        timeline: Timeline,
    ) -> None:
        self.name = name
        """What clients call it."""
        self.running = server
        """The server behind it."""
        self.storage = storage
        """Where its archives lie."""
        self.recording = timeline
        self._aws, self._instance, self._spec = aws, instance, spec

    @property
    def timeline(self) -> Sequence[Event]:
        """What happened to this endpoint and its server until now, in order."""
        self.running.catch_up()
        return self.recording.of(self.name)

    @property
    def log(self) -> str:
        """The server's log: a JSON line per event, and what models and handlers print.

        An ``invoke`` line carries the request's id as `request`: it is the `RequestId` that boto3 saw.
        """
        self.running.catch_up()
        return self.running.log()

    def identifier(self, model: Model) -> str:
        """The opaque id that the container knows *model* by."""
        return self._instance.identifier(model.key)

    def invoke(self, model: Model, x: Any, *, signature: str = DEFAULT_SIGNATURE, before: float | None = None) -> Any:
        """What *model* predicts for the one instance *x*, through boto3's own client.

        Sends ``{"instances": [x]}`` and returns that instance's prediction; raises boto3's own errors. *before* is
        what a counter is known to have counted, for the recorded right answer.
        """
        body, known = instance_body(x, signature), known_answer(model, x, signature, before)
        start, outcome, detail = time.monotonic(), "no answer", instance_said(body, signature, before)
        try:
            predicted = prediction(self.invoke_raw(model.key, body))
            outcome, detail = "ok", {**detail, **known, "got": predicted} if known else detail
        except _client_error() as error:
            outcome = error.response["Error"]["Code"]
            raise
        finally:
            self.recording.record(
                "invoke",
                source="test",
                server=self.name,
                model=model.name,
                outcome=outcome,
                seconds=time.monotonic() - start,
                detail=detail,
            )
        return predicted

    def invoke_raw(
        self, target: str, body: bytes, *, content_type: str = "application/json", **parameters: Any
    ) -> Reply:
        """The whole answer of `invoke_endpoint` to any *body*; *parameters* as boto3 takes them."""
        start = time.perf_counter()
        answer = self._aws.runtime.invoke_endpoint(
            EndpointName=self.name, TargetModel=target, ContentType=content_type, Body=body, **parameters
        )
        content = answer["Body"].read()
        described = answer["ResponseMetadata"]
        return Reply(described["HTTPStatusCode"], content, described["HTTPHeaders"], time.perf_counter() - start)

    def answer(self, request: wire.WireRequest) -> Reply:
        """Answer one HTTP try of a client, for the front door; raises `WireError`."""
        start, outcome, detail = time.monotonic(), "500 InternalFailure", {}
        try:
            reply = self._answer(request)
            outcome = "ok"
        except wire.WireError as error:
            outcome, detail = (
                f"{error.status} {error.code}",
                {"error": error.members.get("OriginalMessage", error.message)},
            )
            raise
        finally:
            self.recording.record(
                "attempt",
                source="hosting",
                server=self.name,
                model=request.target and request.target.removesuffix(".tar.gz"),
                outcome=outcome,
                seconds=time.monotonic() - start,
                detail={"request": request.request_id, "attempt": request.attempt, **detail},
            )
        return reply

    def _answer(self, request: wire.WireRequest) -> Reply:
        if not request.target:
            raise wire.no_target_model(self.name)
        reply = self._instance.invoke(request, request.target, timeout_s=self._spec.invoke_s)
        if not reply.ok:
            raise wire.model_error(self.name, reply.status, reply.body)
        return reply


def _client_error() -> type[ClientError]:
    from botocore.exceptions import ClientError

    return ClientError


@contextlib.contextmanager
def hosted(
    models: Sequence[Model], server: Running, aws: Aws, spec: EndpointSpec, timeline: Timeline
) -> Iterator[Endpoint]:
    """An endpoint over a *server* of the same name: archives in S3, the endpoint in SageMaker, requests answered."""
    name = server.name
    folder = aws.folder(spec.folder(name))
    for model in models:
        folder.put(model.key, model.archive)
    instance = Instance(name, server, folder, timeline, policy=spec.policy, ready_s=spec.ready_s)
    endpoint = Endpoint(name, server, aws, folder, instance, spec, timeline)
    with contextlib.ExitStack() as undo:
        undo.callback(instance.close)
        undo.enter_context(aws.endpoint(name, folder.url, endpoint))
        yield endpoint
