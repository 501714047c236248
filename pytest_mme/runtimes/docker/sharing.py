"""One container for all workers of a run: whoever asks first starts it, and the owner of the run removes it.

A lock, not a counter: the kernel drops it with its holder, so nobody waits for a worker that was killed.
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
    """Where a run keeps the server that all who want the same share."""

    def __init__(self, run: Path, spec: ServerSpec, image: str, known_bytes: Mapping[str, int]) -> None:
        wanted = json.dumps([dataclasses.asdict(spec), image, dict(known_bytes)], sort_keys=True, default=str)
        digest = hashlib.sha256(wanted.encode()).hexdigest()[:12]
        self.name = f"shared-{digest}"
        self._folder = run / "shared"
        self._record = self._folder / f"{digest}.json"

    def record(
        self, start: Callable[[Path], Mapping[str, Any]], *, lives: Callable[[Mapping[str, Any]], bool]
    ) -> Mapping[str, Any]:
        """What is known of the server, which *start* starts in a directory if there is none that *lives*.

        The directory of one that has ended stays: tests that used it show their logs.
        """
        self._folder.mkdir(exist_ok=True)
        with filelock.FileLock(self._record.with_suffix(".lock")):
            found = self._read()
            if found is None or not lives(found):
                found = start(Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=self._folder)))
                self._write(found)
        return found

    def _read(self) -> Mapping[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._record.read_text())
        except FileNotFoundError:
            return None
        return found

    def _write(self, found: Mapping[str, Any]) -> None:
        draft = self._record.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(found))
        draft.replace(self._record)
