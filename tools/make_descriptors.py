"""Write `pytest_mme/libtensorflow/descriptors.binpb` from the installed TensorFlow wheel.

TensorFlow's wheels (looked at: 2.21.0) carry no `.proto` files, only the modules that `protoc` made from them, and
those hold each file's serialised descriptor. Importing them through an empty parent package costs no `import tensorflow`.

    python tools/make_descriptors.py [FILE]
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import types
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor

ROOTS = (
    "tensorflow.core.protobuf.saved_model_pb2",
    "tensorflow.core.protobuf.saved_object_graph_pb2",
    "tensorflow.core.protobuf.config_pb2",
    "tensorflow.core.protobuf.tensor_bundle_pb2",
    "tensorflow.core.protobuf.fingerprint_pb2",
    "tensorflow.core.framework.op_def_pb2",
    "tensorflow.core.framework.kernel_def_pb2",
    "tensorflow.core.example.example_pb2",
)
TARGET = Path(__file__).parents[1] / "pytest_mme" / "libtensorflow" / "descriptors.binpb"


def stub_parent() -> None:
    """Let `tensorflow.core…` be imported without running `tensorflow/__init__.py`."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None:
        raise SystemExit("tensorflow is not installed: pip install tensorflow")
    parent = types.ModuleType("tensorflow")
    parent.__path__ = list(spec.submodule_search_locations or ())
    sys.modules["tensorflow"] = parent


def collect(file: FileDescriptor, into: dict[str, bytes]) -> None:
    """Add *file* to *into*, its dependencies first."""
    for dependency in file.dependencies:
        collect(dependency, into)
    into.setdefault(file.name, file.serialized_pb)


def main(target: Path = TARGET) -> None:
    stub_parent()
    files: dict[str, bytes] = {}
    for root in ROOTS:
        collect(importlib.import_module(root).DESCRIPTOR, files)
    descriptors = descriptor_pb2.FileDescriptorSet()
    for serialised in files.values():
        descriptors.file.add().ParseFromString(serialised)
    target.write_bytes(descriptors.SerializeToString(deterministic=True))
    version = importlib.metadata.version("tensorflow")
    print(f"{target.name}: {len(files)} files, {target.stat().st_size} bytes, from tensorflow {version}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
