"""Explains why TensorFlow refuses an op library, by its message and the file's content. Imports nothing heavy."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

_FRAMEWORK = b"libtensorflow_framework.so.2"
_UNDEFINED = re.compile(r"undefined symbol: (\S+)")
_NEWER_SYSTEM = re.compile(r"version `(\S+?)' not found")
_REGISTERING = (b"TF_RegisterOpDefinition", b"TF_RegisterKernelBuilder", b"_ZN10tensorflow", b"_ZNK10tensorflow")


def advice(path: Path, message: str, version: str) -> str:
    """Return what to do about the *message* with which TensorFlow *version* has refused the library *path*."""
    if undefined := _UNDEFINED.search(message):
        return _advice_on_symbol(path, undefined[1], version)
    if newer := _NEWER_SYSTEM.search(message):
        return f"it was built on a newer system, with {newer[1]}: build it on this one or on an older one"
    if "cannot open shared object file" in message:
        return "see what ldd says: a library that it needs is missing" if path.exists() else "look at the path"
    if not path.is_file() or path.read_bytes()[:4] != b"\x7fELF":
        return "give a shared library (.so)"
    return "read TensorFlow's message"


def _advice_on_symbol(path: Path, symbol: str, version: str) -> str:
    if not _contains(path, _FRAMEWORK):
        return (
            "it is not linked to TensorFlow, whose symbols are not global here (RTLD_LOCAL): link it with "
            "-Wl,--no-as-needed -L<TensorFlow's folder> -l:libtensorflow_framework.so.2"
        )
    if symbol.startswith("_Z"):
        return (
            f"it was built for another TensorFlow than {version}, which serves here, and C++ differs from version to "
            f"version: build it against the headers and the library of {version}, or write it in C"
        )
    if symbol.startswith("TF_"):
        return f"TensorFlow {version}, which serves here, does not have this part of the C API: serve another version"
    return "link it to the library that has the symbol"


def may_register(path: Path) -> bool:
    """Whether a library that added no operation may have registered a kernel, or an operation that exists already."""
    return _contains(path, *_REGISTERING)


def _contains(path: Path, *texts: bytes) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(text) >= 0 for text in texts)
