"""Findings on how an archive is packed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from pytest_mme.archives.inspect import Inspection
from pytest_mme.doctor.finding import Finding, Kind

_CONTRACT = 'AWS, "Custom Containers Contract for Multi-Model Endpoints"'
_LAYOUT = (
    "AWS's TensorFlow containers: only numbered folders at the top of an archive are versions (their handlers' code)"
)

UNREADABLE = Kind(
    code="MME101",
    severity="error",
    title="the archive cannot be unpacked",
    why="no model of it can be loaded",
    advice="pack it again: tar -czf model.tar.gz -C FOLDER .",
    source=_CONTRACT,
)
LINKS = Kind(
    code="MME102",
    severity="error",
    title="the archive holds links or special files",
    why="the platform does not extract such an archive",
    advice="pack copies: tar --dereference --hard-dereference -czf model.tar.gz -C FOLDER .",
    source=_CONTRACT,
)
NO_VERSION = Kind(
    code="MME103",
    severity="error",
    title="no numbered version at the top of the archive",
    why="a single-model endpoint may look deeper; a multi-model one loads nothing, on some images after a long wait",
    advice="put the SavedModel into a numbered folder at the top: 1/saved_model.pb, 1/variables/…",
    source=_LAYOUT,
)
SEVERAL_VERSIONS = Kind(
    code="MME104",
    severity="warning",
    title="several versions",
    why="AWS's TensorFlow containers load every version of an archive, and each takes its memory",
    advice="ship one version in an archive",
    source="AWS's TensorFlow containers (model_version_policy: specific, read in their handlers)",
)
KERAS_FILE = Kind(
    code="MME105",
    severity="error",
    title="a Keras file in place of a SavedModel",
    why="TensorFlow's loader, which servers use, reads SavedModels only",
    advice='export it: model.export("1") in Keras 3, tf.saved_model.save(model, "1") before',
    source="Keras, model.export; TensorFlow Serving reads SavedModels",
)
HIDDEN_FILES = Kind(
    code="MME106",
    severity="info",
    title="files that macOS leaves",
    why="they take room and are no part of the model",
    advice="pack without them: COPYFILE_DISABLE=1 tar --exclude .DS_Store -czf model.tar.gz -C FOLDER .",
    source="what bsdtar of macOS packs",
)
LARGE = Kind(
    code="MME107",
    severity="info",
    title="a large archive",
    why="its first request waits for download, unpacking and load: after 60 s it is a ModelNotReadyException, and the "
    "load goes on for 360 s; on a disk that is full, models that are not in use go",
    advice="ask for it once after the deploy; leave out what is not served; choose an instance by its storage volume",
    source='AWS, "Invoke a Multi-Model Endpoint"; "How Multi-Model Endpoints Work"',
)
KINDS = (UNREADABLE, LINKS, NO_VERSION, SEVERAL_VERSIONS, KERAS_FILE, HIDDEN_FILES, LARGE)

_KERAS = (".keras", ".h5", ".hdf5")
_SHOWN = 5
_LARGE_BYTES = 1 << 30


def look(archive: Inspection) -> Iterator[Finding]:
    """Find what is wrong with the packing."""
    odd = [member.name for member in archive.members if member.kind in ("link", "other")]
    if odd:
        yield Finding(kind=LINKS, fact=_some(odd))
    elif archive.unreadable:
        yield Finding(kind=UNREADABLE, fact=archive.unreadable)
    elif len(archive.versions) > 1:
        yield Finding(kind=SEVERAL_VERSIONS, fact=f"there are {', '.join(map(str, archive.versions))}")
    elif not archive.versions:
        yield _none(archive)
    if archive.unpacked_bytes > _LARGE_BYTES:
        yield Finding(kind=LARGE, fact=f"{archive.unpacked_bytes / _LARGE_BYTES:.1f} GiB when unpacked")
    if hidden := [member.name for member in archive.members if _is_hidden(member.name)]:
        yield Finding(kind=HIDDEN_FILES, fact=_some(hidden))


def _none(archive: Inspection) -> Finding:
    keras = [member.name for member in archive.members if member.name.endswith(_KERAS)]
    if keras:
        return Finding(kind=KERAS_FILE, fact=_some(keras))
    if archive.saved_models:
        return Finding(kind=NO_VERSION, fact=f"the SavedModel lies in {_some(archive.saved_models)}")
    return Finding(kind=NO_VERSION, fact=f"there is {_some([member.name for member in archive.members]) or 'nothing'}")


def _is_hidden(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name == ".DS_Store" or path.name.startswith("._") or "__MACOSX" in path.parts


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
