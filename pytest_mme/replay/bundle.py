"""A failed test as one file: what it made, its models, its timeline."""

from __future__ import annotations

import dataclasses
import json
import re
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pytest_mme.archives.archive import checksum
from pytest_mme.errors import ArchiveError, shown
from pytest_mme.models.builder import Model, Models
from pytest_mme.models.spec import ModelSpec
from pytest_mme.replay import carried_files
from pytest_mme.timeline.events import Event, Timeline

FOLDER = "failures"
"""The folder of kept failures, below the cache folder."""
_KEPT = 20
_DOCUMENT, _ARCHIVES = "bundle.json", "archives/"
_DAMAGES = (KeyError, RuntimeError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)
"""What reading a bundle raises when an entry is missing, encrypted or damaged, or holds something else."""
Kind = Literal["server", "endpoint", "handler"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """A server, an endpoint of *models*, or a handler of them, that a test made."""

    kind: Kind
    name: str
    fields: Mapping[str, Any]
    """The fields that the test gave and JSON can hold; paths as text."""
    models: Sequence[str] = ()
    left_out: Sequence[str] = ()
    """The names of the fields that JSON cannot hold."""


def made(kind: Kind, name: str, fields: Mapping[str, Any], models: Sequence[Model]) -> Made:
    """Describe a server, an endpoint or a handler that a test made, for a bundle."""
    given = carried_files.located({field: value for field, value in fields.items() if value is not None})
    return Made(
        kind=kind,
        name=name,
        fields={field: value for field, value in given.items() if _is_plain(value)},
        models=[model.name for model in models],
        left_out=[field for field, value in given.items() if not _is_plain(value)],
    )


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ingredient:
    """A model of a test: rebuilt from its specification, or else taken from its archive."""

    spec: Mapping[str, Any] | None
    archive: str | None
    checksum: str

    @classmethod
    def of(cls, model: Model) -> Ingredient:
        """Describe *model* by its archive and, where the kit built it, its specification."""
        spec = None if model.spec is None else json.loads(json.dumps(dataclasses.asdict(model.spec), default=str))
        return cls(spec=spec, archive=str(model.archive), checksum=checksum(model.archive))

    def model(self, name: str, models: Models) -> Model:
        """The same model again; raises `ArchiveError` when its archive is gone and it cannot be rebuilt."""
        if self.archive is not None and Path(self.archive).exists():
            return dataclasses.replace(models.archive(Path(self.archive), name=name), spec=self._spec())
        if (rebuilt := self.rebuilt(models)) is not None:
            return rebuilt
        seen = "it is not there any more, and cannot be rebuilt"
        raise ArchiveError(self.archive or name, seen, "bundle a failure before its archives are gone")

    def rebuilt(self, models: Models) -> Model | None:
        """The model built from its specification; None when that gives another archive, as for a forged model."""
        spec = self._spec()
        built = None if spec is None else models.build(spec)
        return built if built is not None and checksum(built.archive) == self.checksum else None

    def _spec(self) -> ModelSpec | None:
        try:
            return None if self.spec is None else ModelSpec(**{name: _tuple(one) for name, one in self.spec.items()})
        except (TypeError, ValueError):  # of another version of the kit
            return None


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bundle:
    """A test that failed."""

    test: str
    failure: str
    """The first line of the failure."""
    settings: Mapping[str, str]
    """The settings that were set, not defaults."""
    made: Sequence[Made]
    models: Mapping[str, Ingredient]
    timeline: Timeline

    def to_json(self) -> str:
        """The bundle as a JSON document."""
        fields = vars(self) | {
            "made": list(map(dataclasses.asdict, self.made)),
            "models": {name: dataclasses.asdict(one) for name, one in self.models.items()},
            "timeline": self.timeline.to_jsonl(),
        }
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> Bundle:
        """The bundle that `to_json` wrote; raises ValueError when *text* is not one."""
        try:
            fields = json.loads(text)
            return cls(
                test=fields["test"],
                failure=fields["failure"],
                settings=dict(fields["settings"]),
                made=[Made(**one) for one in fields["made"]],
                models={name: Ingredient(**one) for name, one in fields["models"].items()},
                timeline=Timeline.from_jsonl(fields["timeline"]),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a bundle: {type(error).__name__}: {error}") from error

    def of(self, server: str) -> tuple[Event, ...]:
        """The events of a server or an endpoint."""
        return self.timeline.of(server)


def keep(bundle: Bundle, cache: Path) -> Path:
    """Write *bundle* below the *cache* folder, which keeps the last 20; gives its file, whose name commands accept."""
    folder = cache / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"\W+", "-", bundle.test.rpartition("::")[2]).strip("-")[:60]
    file = folder / f"{slug}-{uuid.uuid4().hex[:6]}.json"
    file.write_text(bundle.to_json())
    for old in kept(cache)[_KEPT:]:
        old.unlink(missing_ok=True)
    return file


def kept(cache: Path) -> list[Path]:
    """The kept failures, the latest first."""

    def when(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except FileNotFoundError:  # another run has just deleted it
            return 0.0

    return sorted((cache / FOLDER).glob("*.json"), key=when, reverse=True)


def pack(bundle: Bundle, file: Path, models: Models) -> None:
    """Write one file that needs nothing beside it, with the archives that cannot be rebuilt from specifications.

    The files and folders that fields name go in as well. Raises `ArchiveError` when something no longer exists.
    """
    draft = file.with_name(f".{file.name}-{uuid.uuid4().hex[:6]}")
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as packed:
            ingredients = {name: _packed(packed, name, one, models) for name, one in bundle.models.items()}
            all_made = [
                dataclasses.replace(one, fields=carried_files.put(packed, one.fields, str(number)))
                for number, one in enumerate(bundle.made)
            ]
            packed.writestr(_DOCUMENT, dataclasses.replace(bundle, models=ingredients, made=all_made).to_json())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def _packed(packed: zipfile.ZipFile, name: str, one: Ingredient, models: Models) -> Ingredient:
    if one.rebuilt(models) is not None:
        return dataclasses.replace(one, archive=None)
    archive = one.model(name, models).archive
    packed.write(archive, f"{_ARCHIVES}{name}.tar.gz", zipfile.ZIP_STORED)  # compressed already
    return dataclasses.replace(one, archive=f"{_ARCHIVES}{name}.tar.gz")


def read(file: Path, directory: Path) -> Bundle:
    """Read a bundle, and put its archives and files into *directory*; raises ValueError when *file* is not a bundle."""
    if not zipfile.is_zipfile(file):
        return Bundle.from_json(file.read_text(errors="replace"))
    try:
        with zipfile.ZipFile(file) as packed:
            names = packed.namelist()
            if _DOCUMENT not in names:
                raise ValueError(f"not a bundle: {shown(names[:5])}")
            bundle = Bundle.from_json(packed.read(_DOCUMENT).decode(errors="replace"))
            models = {name: _unpacked(packed, name, one, directory) for name, one in bundle.models.items()}
            made = [
                dataclasses.replace(one, fields=carried_files.take(packed, one.fields, directory))
                for one in bundle.made
            ]
    except _DAMAGES as error:
        raise ValueError(f"not a whole bundle: {error}") from error
    return dataclasses.replace(bundle, models=models, made=made)


def _unpacked(packed: zipfile.ZipFile, name: str, one: Ingredient, directory: Path) -> Ingredient:
    if one.archive is None:
        return one
    target = directory / f"{uuid.uuid4().hex}.tar.gz"  # whatever the bundle calls it
    target.write_bytes(packed.read(f"{_ARCHIVES}{name}.tar.gz"))
    return dataclasses.replace(one, archive=str(target))


def age(file: Path) -> str:
    """How long ago *file* was written, such as ``5 minutes ago``."""
    minutes = (time.time() - file.stat().st_mtime) / 60
    return f"{minutes:.0f} minutes ago" if minutes < 120 else f"{minutes / 60:.0f} hours ago"


def made_checks(events: Iterable[Event]) -> list[Event]:
    """The events of the checks that a test made as methods of a server or an endpoint."""
    return [event for event in events if event.kind == "mark" and "call" in event.detail]
