"""An endpoint as a test holds it: requests through boto3, the timeline, the log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_mme.aws import wire
from pytest_mme.aws.clients import Aws
from pytest_mme.aws.s3_folder import S3Folder
from pytest_mme.checks.methods import Checked
from pytest_mme.contract.client import Reply
from pytest_mme.hosting.platform import Platform
from pytest_mme.hosting.spec import EndpointSpec
from pytest_mme.models.builder import Model
from pytest_mme.models.by_name import by_name
from pytest_mme.models.spec import DEFAULT_SIGNATURE
from pytest_mme.runtimes.base import Running
from pytest_mme.runtimes.recorded_calls import RecordedInvoke, recorded
from pytest_mme.timeline.events import Timeline


class Endpoint(Checked):
    """A multi-model endpoint that boto3 can reach under its name."""

    running: Running

    def __init__(
        self, running: Running, aws: Aws, platform: Platform, models: Sequence[Model], timeline: Timeline
    ) -> None:
        self.name = platform.name
        """What clients call it."""
        self.running = running
        self.platform = platform
        """The platform's side of it, which downloads, loads and evicts."""
        self.models: Mapping[str, Model] = {model.name: model for model in models}
        """The models whose archives it has, by name."""
        self.recording = timeline
        self.in_effect: list[Any] = []
        """The faults that have begun and not ended."""
        self._aws = aws
        self._logged_before = 0

    @property
    def log(self) -> str:
        """What the server has logged since this test has it: a JSON line per event, and what models and handlers print.

        An ``invoke`` line carries the request's id as `request`: it is the `RequestId` that boto3 saw.
        """
        self.running.catch_up()
        log = self.running.log()
        return log[self._logged_before :] if len(log) >= self._logged_before else log

    def log_from_now(self) -> None:
        """Let `log` begin here: another test has the endpoint now."""
        self._logged_before = len(self.running.log())

    def model(self, model: Model | str) -> Model:
        """The model of that name; a model itself is returned as it is. Raises TypeError for a name that is not known."""
        return by_name(model, self.models, self.name)

    def identifier(self, model: Model | str) -> str:
        """The opaque id that the container knows *model* by."""
        return self.platform.identifier(self.model(model).key)

    def invoke(
        self, model: Model | str, x: Any, *, signature: str = DEFAULT_SIGNATURE, before: float | None = None
    ) -> Any:
        """Ask *model*, or the one of that name, for the one instance *x* through boto3's own client; its prediction.

        Sends ``{"instances": [x]}``; raises boto3's own errors, and `ContractError` when a reply with the status 200 holds no
        prediction. *before* is what a counter is known to have counted, for the expected value that is recorded.
        """
        from botocore.exceptions import ClientError

        model = self.model(model)
        request = RecordedInvoke.of(model, x, signature, before)
        with recorded(self.recording, request, source="test", server=self.name):
            try:
                reply = self.invoke_raw(model.key, request.body)
            except ClientError as error:
                request.outcome = error.response["Error"]["Code"]
                request.detail["request"] = error.response["ResponseMetadata"].get("RequestId")
                members: Mapping[str, Any] = error.response  # a ModelError has more of them than the types know
                if "OriginalStatusCode" in members:
                    request.detail["status"] = members["OriginalStatusCode"]
                raise
            request.detail["request"] = reply.headers.get(wire.REQUEST_ID.lower())
            return request.prediction(reply)

    def invoke_raw(
        self, target: str, body: bytes, *, content_type: str = "application/json", **parameters: Any
    ) -> Reply:
        """Send any *body* by boto3's `invoke_endpoint` and return the whole reply; *parameters* as boto3 takes them."""
        start = time.perf_counter()
        output = self._aws.runtime.invoke_endpoint(
            EndpointName=self.name, TargetModel=target, ContentType=content_type, Body=body, **parameters
        )
        content, metadata = output["Body"].read(), output["ResponseMetadata"]
        return Reply(metadata["HTTPStatusCode"], content, metadata["HTTPHeaders"], time.perf_counter() - start)


@contextlib.contextmanager
def hosted(
    models: Sequence[Model], running: Running, aws: Aws, spec: EndpointSpec, timeline: Timeline
) -> Iterator[Endpoint]:
    """Make the server *running* an endpoint of the same name: archives in S3, the endpoint in SageMaker, replies."""
    with (
        _uploaded(models, aws.folder(spec.folder(running.name))) as archives,
        contextlib.closing(Platform(running, archives, spec, timeline)) as platform,
        aws.endpoint(platform.name, archives.url, platform.reply),
    ):
        yield Endpoint(running, aws, platform, models, timeline)


@contextlib.contextmanager
def _uploaded(models: Sequence[Model], archives: S3Folder) -> Iterator[S3Folder]:
    """Upload the archives of *models*, and remove them at the end: an AWS that several tests share holds no more."""
    for model in models:
        archives.put(model.key, model.archive)
    try:
        yield archives
    finally:
        with contextlib.suppress(Exception):  # a test may have deleted the bucket, or left AWS in any state
            for model in models:
                archives.remove(model.key)
