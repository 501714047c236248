"""Write `pytest_mme/archives/ops.json.gz` from TensorFlow's releases: which operations each of them has.

The last release of every minor version from the oldest that the binding runs is fetched, opened and asked
(`TF_GetAllOpList`, `TF_GetAllRegisteredKernels`); its GraphDef version is read in its headers.

    python tools/make_op_registry.py [FILE]
"""

from __future__ import annotations

import base64
import ctypes
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.version import Version

from pytest_mme import versions
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.capi import Buffer, Library
from pytest_mme.libtensorflow.version_cache import VersionCache
from pytest_mme.settings import Settings

TARGET = Path(__file__).parents[1] / "pytest_mme" / "archives" / "ops.json.gz"
HEADERS = "include/tensorflow/core/public"
GRAPH_DEF = re.compile(r"#define TF_GRAPH_DEF_VERSION (\d+)")
ON_CPU = {"CPU", "DEFAULT"}


def releases(version_cache: VersionCache) -> Iterator[str]:
    """The last of each minor version, up to the latest."""
    latest = Version(version_cache.resolve(versions.LATEST))
    major, oldest = versions.OLDEST
    for minor in range(oldest, latest.minor + 1):
        yield version_cache.resolve(f"{major}.{minor}")


def look(directory: Path) -> dict[str, Any]:
    """What the TensorFlow in *directory* has; in a process of its own, as two do not live in one."""
    done = subprocess.run([sys.executable, __file__, "--look", str(directory)], stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def show(directory: Path) -> None:
    library = Library(directory)
    print(json.dumps({"graph_def": graph_def(directory), "ops": ops(library), "on_cpu": sorted(on_cpu(library))}))


def graph_def(directory: Path) -> int:
    text = "\n".join(path.read_text() for path in sorted((directory / HEADERS).glob("*.h")))
    found = GRAPH_DEF.search(text)
    if found is None:
        raise SystemExit(f"{directory / HEADERS} does not say the GraphDef version")
    return int(found[1])


def ops(library: Library) -> dict[str, dict[str, Any]]:
    function = library._cdll.TF_GetAllOpList  # noqa: SLF001  the kit itself asks no such thing
    function.restype = ctypes.POINTER(Buffer)
    described = protos.OpList.FromString(bytes(function().contents.view()))
    return {op.name: {attr.name: attribute(attr) for attr in op.attr} for op in described.op}


def attribute(attr: Any) -> dict[str, Any]:
    default = attr.default_value.SerializeToString(deterministic=True) if attr.HasField("default_value") else None
    return {
        "default": None if default is None else base64.b64encode(default).decode(),
        "types": [protos.data_type_name(number) for number in attr.allowed_values.list.type],
    }


def on_cpu(library: Library) -> set[str]:
    function = library._cdll.TF_GetAllRegisteredKernels  # noqa: SLF001
    function.restype, function.argtypes = ctypes.POINTER(Buffer), [ctypes.c_void_p]
    with library.status() as status:
        kernels = protos.KernelList.FromString(bytes(function(status).contents.view()))
    return {kernel.op for kernel in kernels.kernel if kernel.device_type in ON_CPU}


def merged(found: list[dict[str, Any]]) -> dict[str, Any]:
    """By operation: the first and the last release that have it, likewise its CPU kernel, attributes and their types."""
    merged_ops: dict[str, Any] = {}
    for number, release in enumerate(found):
        for name, attributes in release["ops"].items():
            op = merged_ops.setdefault(name, {"in": [number, number], "attributes": {}})
            op["in"][1] = number
            for attr, described in attributes.items():
                merge_attribute(op["attributes"], attr, described, number)
        for name in release["on_cpu"]:
            if name in merged_ops:
                merged_ops[name].setdefault("cpu", [number, number])[1] = number
    return merged_ops


def merge_attribute(attributes: dict[str, Any], name: str, described: dict[str, Any], number: int) -> None:
    attr = attributes.setdefault(name, {"in": [number, number]})
    attr["in"][1] = number
    if described["default"] is not None:
        attr["default"] = described["default"]
    for allowed in described["types"]:
        attr.setdefault("types", {}).setdefault(allowed, number)


def main(target: Path = TARGET) -> None:
    version_cache = VersionCache(Settings.resolve(environment={}).cache.value / "tensorflow")
    names = list(releases(version_cache))
    found = [look(version_cache.directory(name)) for name in names]
    registry = {"releases": names, "graph_def": [one["graph_def"] for one in found], "ops": merged(found)}
    text = json.dumps(registry, sort_keys=True, separators=(",", ":")).encode()
    target.write_bytes(gzip.compress(text, mtime=0))
    print(f"{target.name}: {len(registry['ops'])} operations of {len(names)} releases, {target.stat().st_size} bytes")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--look"]:
        show(Path(sys.argv[2]))
    else:
        main(*map(Path, sys.argv[1:]))
