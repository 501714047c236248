"""What the page shows of each test: a file in the run's directory, which the process that ran the test writes."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_mme.timeline.events import Timeline

FOLDER = "records"
"""A folder in the run's directory, which the controller shares with its workers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What the page shows of one test."""

    test: str
    outcome: str
    """``passed``, ``failed``, ``error``, ``skipped`` or ``xfailed``."""
    timeline: Timeline
    servers: Sequence[str]
    reason: str = ""
    """What the failure is, in one line, for a test that failed."""
    evidence: Sequence[tuple[str, str]] = ()
    """Title and text of each section, for a test that failed."""

    def write(self, directory: Path) -> None:
        """Write it into the run's *directory*."""
        fields = vars(self) | {"timeline": self.timeline.to_jsonl()}
        folder = directory / FOLDER
        folder.mkdir(exist_ok=True)
        (folder / f"{uuid.uuid4().hex}.json").write_text(json.dumps(fields))


def written(directory: Path) -> Iterator[Record]:
    """Read all records from the run's *directory*."""
    for file in (directory / FOLDER).glob("*.json"):
        fields = json.loads(file.read_text())
        timeline = Timeline.from_jsonl(fields.pop("timeline"))
        evidence = [(title, text) for title, text in fields.pop("evidence")]
        yield Record(timeline=timeline, evidence=evidence, **fields)
