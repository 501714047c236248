"""The platform's side of an endpoint: gives the reply to each request that a client sends."""

from __future__ import annotations

from pytest_mme.aws import wire
from pytest_mme.aws.s3_folder import S3Folder
from pytest_mme.contract.client import Reply
from pytest_mme.hosting.disk import Disk
from pytest_mme.hosting.instance import Instance
from pytest_mme.hosting.spec import EndpointSpec
from pytest_mme.runtimes.base import Running
from pytest_mme.runtimes.recorded_calls import RecordedCall, recorded
from pytest_mme.timeline.events import Timeline


class Platform:
    """Replies for one endpoint, whose one instance is the server *running*."""

    def __init__(self, running: Running, archives: S3Folder, spec: EndpointSpec, timeline: Timeline) -> None:
        self.name = running.name
        """What clients call the endpoint."""
        self.archives = archives
        """Where the endpoint's archives lie."""
        self.disk = Disk(running.models, archives)
        """The instance's disk."""
        self._instance = Instance(self.name, running, self.disk, timeline, policy=spec.policy, ready_s=spec.ready_s)
        self._invoke_s, self._timeline = spec.invoke_s, timeline

    def reply(self, request: wire.WireRequest) -> Reply:
        """Reply to one HTTP try of a client, which is recorded as an `attempt`; raises `WireError`."""
        known = {"request": request.request_id, "attempt": request.attempt, "invocation": request.invocation}
        attempt = RecordedCall(
            kind="attempt",
            model=request.target and request.target.removesuffix(".tar.gz"),
            outcome="500 InternalFailure",
            detail={name: value for name, value in known.items() if value is not None},
        )
        with recorded(self._timeline, attempt, source="hosting", server=self.name):
            try:
                reply = self._invoke(request, attempt)
            except wire.WireError as error:
                attempt.outcome = f"{error.status} {error.code}"
                attempt.detail["error"] = error.members.get("OriginalMessage", error.message)
                if "OriginalStatusCode" in error.members:
                    attempt.detail["status"] = error.members["OriginalStatusCode"]
                raise
            attempt.outcome = "ok"
            return reply

    def _invoke(self, request: wire.WireRequest, attempt: RecordedCall) -> Reply:
        if not request.target:
            raise wire.no_target_model(self.name)
        used_s = attempt.detail["used_s"] = []
        reply = self._instance.invoke(request, request.target, used_s, timeout_s=self._invoke_s)
        if not reply.ok:
            raise wire.model_error(self.name, reply.status, reply.body)
        return reply

    def identifier(self, target: str) -> str:
        """The opaque id that the container knows the archive *target* by."""
        return self._instance.identifier(target)

    def close(self) -> None:
        """Start nothing more; what is under way ends with the server."""
        self._instance.close()
