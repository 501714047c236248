"""The build context of an image, and the digest that tells whether an existing image is up to date."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import tarfile
from collections.abc import Mapping
from pathlib import Path

PACKAGED = (
    "__init__.py",
    "answers.py",
    "archives",
    "contract",
    "errors.py",
    "extras.py",
    "libtensorflow",
    "serving",
    "timeline",
    "versions.py",
)
"""The serving side of this package, of which the images hold a copy (a test checks that it is complete)."""
CA_BUNDLE = "ca-bundle.pem"
_LEFT_OUT = ("__pycache__",)
_IMAGES = Path(__file__).parent


def image_names() -> list[str]:
    """Return the names of the project's images."""
    return sorted(dockerfile.parent.name for dockerfile in _IMAGES.glob("*/Dockerfile"))


def context(image: str, *, ca_bundle: Path | None = None) -> dict[str, bytes]:
    """Return all files of the build context by path; raises OSError when the *ca_bundle* cannot be read."""
    certificates = ca_bundle.read_bytes() if ca_bundle else b""
    return _files(_IMAGES / image, "") | _packaged() | {CA_BUNDLE: certificates}


def _packaged() -> dict[str, bytes]:
    parts = (_files(_IMAGES.parent / name, f"pytest_mme/{name}") for name in PACKAGED)
    return dict(itertools.chain.from_iterable(part.items() for part in parts))


@functools.cache
def code_digest() -> str:
    """Return the digest of this package's code as the images hold it: 64 hex digits."""
    return digest(_packaged(), {})


def _files(start: Path, path: str) -> dict[str, bytes]:
    if start.is_file():
        return {path: start.read_bytes()}
    inside = [one for one in start.iterdir() if one.name not in _LEFT_OUT]
    return {name: data for one in inside for name, data in _files(one, f"{path}/{one.name}".lstrip("/")).items()}


def digest(content: Mapping[str, bytes], arguments: Mapping[str, str]) -> str:
    """Return the digest of a context and its build arguments: 64 hex digits.

    The CA bundle is left out: it decides how the build reaches its sources, not what it builds.
    """
    described = hashlib.sha256()
    for name, data in sorted(content.items()):
        if name != CA_BUNDLE:
            described.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    for name, value in sorted(arguments.items()):
        described.update(f"{name}={value}\n".encode())
    return described.hexdigest()


def as_tar(content: Mapping[str, bytes]) -> io.BytesIO:
    """Pack the context as a tar, for the engine's API."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in sorted(content.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    packed.seek(0)
    return packed
