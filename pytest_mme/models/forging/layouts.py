"""Forgeries of the archive's layout: version folders, another kind of model, links, hidden files of macOS."""

from __future__ import annotations

import functools
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from pytest_mme.archives.archive import versions
from pytest_mme.models.forging.forgery import Forgery, binary, of_each_version

_ELSEWHERE = Path("/home/nobody/.cache/models")
_APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0" + bytes(18)  # RFC 1740: magic number, version, filler, no entries
_DS_STORE = b"\0\0\0\1Bud1" + bytes(24)
# HDF5 File Format Specification 3.0, "Disk Format: Level 0A": the signature; Keras can read nothing of the rest.
_HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(88)
_KERAS_FILES = {  # of Keras 3's saving_lib.py
    "metadata.json": json.dumps({"keras_version": "3.10.0"}).encode(),
    "config.json": json.dumps({"module": "keras", "class_name": "Sequential", "config": {"layers": []}}).encode(),
    "model.weights.h5": _HDF5,
}


def _repeat_the_highest(folder: Path) -> None:
    number, version = versions(folder)[-1]
    shutil.copytree(version, folder / str(number + 1))


def _name_them(folder: Path, *, form: str) -> None:
    for number, version in versions(folder):
        target = folder / form.format(number)
        target.parent.mkdir(exist_ok=True)
        version.rename(target)


def _move_the_highest_to_the_top(folder: Path) -> None:
    *others, (_, highest) = versions(folder)
    for _, version in others:
        shutil.rmtree(version)
    for path in highest.iterdir():
        path.rename(folder / path.name)
    highest.rmdir()


def _emptied(version: Path) -> Path:
    shutil.rmtree(version)
    version.mkdir()
    return version


def _save_keras_file(version: Path) -> None:
    with zipfile.ZipFile(_emptied(version) / "model.keras", "w") as archive:
        for name, content in _KERAS_FILES.items():
            archive.writestr(zipfile.ZipInfo(name), content)


def _link(folder: Path, *, link: Callable[[Path, Path], None]) -> None:
    """Move each graph to ``blobs/``, and call *link* with the old and the new path to make a link in its place."""
    (folder / "blobs").mkdir()
    for number, version in versions(folder):
        old, new = binary(version), folder / "blobs" / f"saved_model-{number}.pb"
        old.rename(new)
        link(old, new)


def _point_elsewhere(version: Path) -> None:
    path = binary(version)
    path.unlink()
    path.symlink_to(_ELSEWHERE / version.name / path.name)


def _leave_macos_files(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(_DS_STORE)
    for number, version in versions(folder):
        (folder / f"._{number}").write_bytes(_APPLE_DOUBLE)
        (version / ".DS_Store").write_bytes(_DS_STORE)
        double = folder / "__MACOSX" / str(number)
        double.mkdir(parents=True)
        for path in sorted(path for path in version.rglob("*") if path.is_file() and path.name != ".DS_Store"):
            path.with_name(f"._{path.name}").write_bytes(_APPLE_DOUBLE)
            (double / f"._{path.name}").write_bytes(_APPLE_DOUBLE)


FORGERIES = (
    Forgery(
        name="several-versions",
        about="The archive holds its highest version twice, under two numbers: an export folder that was added to. "
        "AWS's TensorFlow containers load both.",
        change=_repeat_the_highest,
    ),
    Forgery(
        name="non-numeric-version",
        about="The version folders are called `v1` instead of `1`: named by hand or by a model registry.",
        change=functools.partial(_name_them, form="v{}"),
    ),
    Forgery(
        name="nested-version",
        about="The version folders lie in one more folder, `model/1`: the folder was packed instead of what it holds.",
        change=functools.partial(_name_them, form="model/{}"),
    ),
    Forgery(
        name="unversioned",
        about="`saved_model.pb` lies at the top of the archive: the SavedModel's folder was packed as it was saved.",
        change=_move_the_highest_to_the_top,
    ),
    Forgery(
        name="keras-file",
        about="The version holds a `model.keras` instead of a SavedModel: `model.save` instead of `model.export`.",
        change=of_each_version(_save_keras_file),
    ),
    Forgery(
        name="h5-file",
        about="The version holds a `model.h5` instead of a SavedModel: the format that Keras 2 saved by that name.",
        change=of_each_version(lambda version: (_emptied(version) / "model.h5").write_bytes(_HDF5)),
    ),
    Forgery(
        name="symbolic-link",
        about="`saved_model.pb` is a symbolic link to another file of the archive: packed from a cache that keeps each "
        "file once.",
        change=functools.partial(_link, link=lambda old, new: old.symlink_to(os.path.relpath(new, old.parent))),
        keeps_answers=True,
    ),
    Forgery(
        name="dangling-link",
        about="`saved_model.pb` is a symbolic link to a path of the exporter's own disk: packed from a cache.",
        change=of_each_version(_point_elsewhere),
    ),
    Forgery(
        name="hard-link",
        about="`saved_model.pb` and another file of the archive are one file under two names, the second a hard link: "
        "packed from a disk that keeps equal files once.",
        change=functools.partial(_link, link=Path.hardlink_to),
        keeps_answers=True,
    ),
    Forgery(
        name="hidden-macos-files",
        about="Hidden files lie everywhere, `.DS_Store`, `._saved_model.pb` and `__MACOSX/`: packed by macOS.",
        change=_leave_macos_files,
        keeps_answers=True,
    ),
)
