"""Trained models that packages of the package index bring along: fetched once, without their dependencies."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TIMEOUT_S = 120


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """Where in a wheel a SavedModel lies."""

    wheel: str
    """A requirement; of the wheels that fit it, that for CPython 3.11 on Linux is fetched, whatever runs here."""
    folder: str
    zipped_in: str | None = None
    """A zip in the wheel that the folder is in."""


PUBLISHED = {
    "basic_pitch": Published(  # Spotify's, Apache-2.0: convolutions of Keras, saved by TensorFlow 2.4
        wheel="basic-pitch==0.4.0", folder="basic_pitch/saved_models/icassp_2022/nmp"
    ),
    "guesslang": Published(  # MIT: an Estimator of strings, with tables, saved by TensorFlow 2.5
        wheel="guesslang==2.2.1", folder="guesslang/data/model"
    ),
    "sleepecg": Published(  # BSD-3-Clause: a recurrent network of Keras
        wheel="sleepecg==0.5.5", folder="classifier", zipped_in="sleepecg/classifiers/ws-gru-mesa.zip"
    ),
}


def fetch(model: Published, target: Path) -> None:
    """Put the SavedModel into *target*. Raises CalledProcessError or TimeoutExpired when pip cannot fetch its wheel."""
    with tempfile.TemporaryDirectory() as folder:
        (wheel,) = download(model.wheel, Path(folder)).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        if model.zipped_in:
            with zipfile.ZipFile(Path(folder, model.zipped_in)) as archive:
                archive.extractall(folder)
        target.parent.mkdir(parents=True)
        shutil.move(Path(folder, model.folder), target)


def download(requirement: str, folder: Path) -> Path:
    """Have pip, as it is configured here, download a wheel into *folder*."""
    options = (
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version=3.11",
        "--platform=manylinux2014_x86_64",
    )
    command = (sys.executable, "-m", "pip", "download", *options, "--dest", folder, requirement)
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
    return folder
