"""What the factories start, and how long it lives: for a test, or for its class, module, package or session."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_mme.plugin import marks, sharing
from pytest_mme.plugin.evidence import evidence_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import ModuleType

    import pytest

    from pytest_mme.aws.clients import Aws
    from pytest_mme.hosting.endpoint import Endpoint
    from pytest_mme.kit import Run
    from pytest_mme.models.builder import Model
    from pytest_mme.replay.bundle import Kind
    from pytest_mme.runtimes.server import Server
    from pytest_mme.timeline.events import Timeline

T = TypeVar("T", bound="Server | Endpoint")


class Starting(contextlib.ExitStack):
    """Starts what lives as long as the fixture of a request. A context manager, which ends it all."""

    def __init__(self, run: Run, request: pytest.FixtureRequest) -> None:
        super().__init__()
        self._run, self._request = run, request
        self._making = sharing.making(request.config) if request.scope == "package" else None

    def server(self, **fields: Any) -> Server:
        """Start a server; a `ServerFactory`."""
        fields = marks.defaults(self._request.node, "server") | fields
        return self._started("server", lambda timeline: self._run.server(timeline=timeline, **fields), fields)

    def handler(self, module: Path | str | ModuleType, models: Sequence[Model], **fields: Any) -> Server:
        """Host a handler; a `HandlerFactory`."""
        fields = marks.defaults(self._request.node, "server") | fields
        return self._started(
            "handler",
            lambda timeline: self._run.handler(module, models, timeline=timeline, **fields),
            {"module": module, **fields},
            models,
        )

    def endpoint(self, aws: Aws, archives: Sequence[Model], **fields: Any) -> Endpoint:
        """Start an endpoint; with *aws*, an `EndpointFactory`."""
        fields = marks.defaults(self._request.node, "endpoint") | fields
        return self._started(
            "endpoint",
            lambda timeline: self._run.endpoint(archives, aws=aws, timeline=timeline, **fields),
            fields,
            archives,
        )

    def _started(
        self,
        kind: Kind,
        start: Callable[[Timeline], AbstractContextManager[T]],
        fields: Mapping[str, Any],
        models: Sequence[Model] = (),
    ) -> T:
        """Start it on the test's own timeline, or where tests share it on one of which each test has a slice."""
        if self._request.scope == "function":
            evidence = evidence_of(self._request.node)
            target = self.enter_context(start(evidence.timeline))
            evidence.add(kind, target, fields, models)
            return target
        config, lasting = self._request.config, self._lasting()
        recording = sharing.begun(config)
        target = lasting.enter_context(start(recording))
        made = sharing.Shared(
            kind=kind,
            target=target,
            fields=fields,
            models=models,
            fixture=str(self._request.fixturename),
            recording=recording,
        )
        lasting.enter_context(sharing.sharing(config, made))
        return target

    def _lasting(self) -> contextlib.ExitStack:
        """What ends it: for a package the fixture that has it started, since pytest ends a plugin's with the session."""
        fixture = self._making.of_a_package() if self._making else None
        if fixture is None:
            return self
        lasting = self.enter_context(contextlib.ExitStack())
        fixture.addfinalizer(lasting.close)
        return lasting
