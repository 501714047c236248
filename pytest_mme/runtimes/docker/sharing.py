"""One container for all workers of a run: the first that needs it starts it, and the owner of the run removes it.

A lock guards it, not a counter: the kernel releases the lock of a worker that was killed, so nobody waits for it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import filelock

from pytest_mme.runtimes.spec import ServerSpec


class Place:
    """Where a run notes the server that all tests with the same specification share."""

    def __init__(self, run: Path, spec: ServerSpec, image: str, known_bytes: Mapping[str, int]) -> None:
        wanted = json.dumps([dataclasses.asdict(spec), image, dict(known_bytes)], sort_keys=True, default=str)
        digest = hashlib.sha256(wanted.encode()).hexdigest()[:12]
        self.name = f"shared-{digest}"
        self._folder = run / "shared"
        self._record = self._folder / f"{digest}.json"

    def record(
        self, start: Callable[[Path], Mapping[str, Any]], *, lives: Callable[[Mapping[str, Any]], bool]
    ) -> Mapping[str, Any]:
        """The note about the server; where it is missing, or does not fulfil *lives*, *start* makes another.

        *start* takes the server's directory. That of a server that has ended stays: tests that used it show its log.
        """
        self._folder.mkdir(exist_ok=True)
        with filelock.FileLock(self._record.with_suffix(".lock")):
            found: Mapping[str, Any] | None = json.loads(self._record.read_text()) if self._record.exists() else None
            if found is None or not lives(found):
                found = start(Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=self._folder)))
                draft = self._record.with_suffix(f".{os.getpid()}.tmp")
                draft.write_text(json.dumps(found))
                draft.replace(self._record)
        return found
