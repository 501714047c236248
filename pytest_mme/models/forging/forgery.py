"""What a forgery is, and how it changes the SavedModels of an unpacked archive."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from pytest_mme.archives.archive import versions
from pytest_mme.errors import ArchiveError
from pytest_mme.libtensorflow import protos

Change = Callable[[Path], None]
"""Changes the folder of an unpacked archive, with ``1/saved_model.pb`` and so on, in place."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forgery:
    """One thing that can be wrong with an archive."""

    name: str
    about: str
    """What is wrong with the archive, and how that happens in practice."""
    change: Change
    keeps_answers: bool = False
    """Whether a server that loads the archive predicts what the undamaged model would, at the same cost."""


def of_each_version(change: Callable[..., object], /, **arguments: Any) -> Change:
    """Make *change*, with these keyword *arguments*, in the folder of each version."""

    def change_all(folder: Path) -> None:
        for _, version in versions(folder):
            change(version, **arguments)

    return change_all


def of_each_graph(edit: Callable[..., object], /, **arguments: Any) -> Change:
    """Make *edit*, with these keyword *arguments*, in each `MetaGraphDef` of each version."""

    def change(version: Path) -> None:
        path = binary(version)
        try:
            saved_model = protos.SavedModel.FromString(path.read_bytes())
        except DecodeError as error:
            seen = f"version {version.name}: {error}"
            raise ArchiveError("the model's graph cannot be read", seen, "forge a model that is not damaged") from error
        for meta_graph in saved_model.meta_graphs:
            edit(meta_graph, **arguments)
        path.write_bytes(saved_model.SerializeToString(deterministic=True))

    return of_each_version(change)


def binary(version: Path) -> Path:
    """Return the `saved_model.pb` of a version; raises `ArchiveError` when it has a `saved_model.pbtxt` only."""
    path = version / "saved_model.pb"
    if not path.is_file():
        seen = f"version {version.name} holds a saved_model.pbtxt"
        raise ArchiveError("the model's graph is not in binary form", seen, "use a model with a saved_model.pb")
    return path
