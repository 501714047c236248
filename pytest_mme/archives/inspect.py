"""Inspects an archive without TensorFlow, also one that is damaged."""

from __future__ import annotations

import contextlib
import dataclasses
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from pytest_mme.archives import archive
from pytest_mme.archives.code import INFERENCE
from pytest_mme.archives.reachability import loaded, reached_functions, reached_nodes, signature_outputs
from pytest_mme.errors import ArchiveError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.signatures import Signature, read_signatures

SERVE = "serve"
"""The tag of the graph that servers load."""
_ASSETS = "saved_model_assets"  # tensorflow/cc/saved_model/constants.h
_PB, _PBTXT = "saved_model.pb", "saved_model.pbtxt"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """A file or folder of an archive, by its header."""

    name: str
    kind: str
    """``file``, ``folder``, ``link`` or ``other``."""
    size: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """An operation in a graph."""

    definition: Any
    """Its `NodeDef`."""
    function: str
    """The function of the library that it is in; empty for the graph itself."""
    is_read: bool
    """Whether a loader has to understand it: functions that nothing in the graph calls are ignored."""
    runs: bool
    """Whether it runs when the model is loaded or invoked, as far as the graph shows."""

    @property
    def is_placed(self) -> bool:
        """Whether a loader needs a device and a kernel for it: for every node of the graph, and those of functions that run."""
        return self.runs or not self.function

    @property
    def where(self) -> str:
        """Its name and its function, for messages."""
        return f"{self.definition.name} in function {self.function}" if self.function else str(self.definition.name)


class SavedModelFiles:
    """One version of a model: a folder with a `saved_model.pb`."""

    def __init__(self, folder: Path, name: str) -> None:
        """Read the version in *folder*, whose path in the archive is *name*."""
        self.folder, self.name = folder, name

    @cached_property
    def damage(self) -> str:
        """Why `saved_model.pb` cannot be read; empty when it can."""
        try:
            self._message  # noqa: B018
        except (protos.DecodeError, text_format.ParseError, UnicodeError) as error:
            return f"{self._file.name} cannot be parsed ({self._file.stat().st_size} bytes): {error}"
        return ""

    @property
    def _file(self) -> Path:
        """The graph's file: like TensorFlow's loader, it prefers the binary one."""
        binary = self.folder / _PB
        return binary if binary.is_file() else self.folder / _PBTXT

    @cached_property
    def _message(self) -> Any:
        if self._file.name == _PB:
            return protos.SavedModel.FromString(self._file.read_bytes())
        return text_format.Parse(self._file.read_text(), protos.SavedModel())

    @property
    def tags(self) -> list[list[str]]:
        """The tags of each graph in it."""
        return [list(graph.meta_info_def.tags) for graph in self._message.meta_graphs]

    @cached_property
    def served(self) -> Any:
        """The `MetaGraphDef` that servers load; None when there is none or the file is damaged."""
        if self.damage:
            return None
        return next((graph for graph in self._message.meta_graphs if set(graph.meta_info_def.tags) == {SERVE}), None)

    @cached_property
    def signatures(self) -> dict[str, Signature]:
        """The signatures by name, without TensorFlow's internal ones."""
        alone = protos.MetaGraphDef(signature_def=self.served.signature_def)  # without the graph, which may be large
        found = read_signatures(memoryview(alone.SerializeToString()))
        return {name: signature for name, signature in found.items() if not name.startswith("__saved_model")}

    def nodes(self) -> Iterator[Node]:
        """Yield all nodes of the served graph and of its functions."""
        graph = self.served.graph_def
        for node in graph.node:
            yield Node(definition=node, function="", is_read=True, runs=node.name in self.running)
        read, running = self._functions_read
        for function in graph.library.function:
            name = function.signature.name
            for node in function.node_def:
                yield Node(definition=node, function=name, is_read=name in read, runs=name in running)

    @cached_property
    def _functions_read(self) -> tuple[set[str], set[str]]:
        """The functions that the graph calls, and those of them that run."""
        nodes = self.served.graph_def.node
        running = [node for node in nodes if node.name in self.running]
        return reached_functions(self.served, nodes), reached_functions(self.served, running)

    @cached_property
    def running(self) -> set[str]:
        """The names of the nodes of the graph itself that run."""
        return self.filling | reached_nodes(self.served, signature_outputs(self.served))

    @cached_property
    def filling(self) -> set[str]:
        """The names of the nodes that run when the model is loaded: they fill the variables and the tables."""
        return reached_nodes(self.served, loaded(self.served))

    @cached_property
    def assets(self) -> list[Any]:
        """The `AssetFileDef` of each file whose path the loader puts into the graph; TensorFlow 1 keeps a collection."""
        if self.served.asset_file_def:
            return list(self.served.asset_file_def)
        packed = self.served.collection_def.get(_ASSETS, protos.CollectionDef()).any_list.value
        return [protos.AssetFileDef.FromString(one.value) for one in packed]

    @cached_property
    def functions(self) -> set[str]:
        """The names of the functions in its library."""
        return {function.signature.name for function in self.served.graph_def.library.function}

    @cached_property
    def ops(self) -> Counter[str]:
        """How often each operation occurs."""
        return Counter(node.definition.op for node in self.nodes())

    @cached_property
    def defaults(self) -> dict[tuple[str, str], bytes]:
        """The exporter's defaults by operation and attribute, serialised `AttrValue`s, as far as it recorded them."""
        described = self.served.meta_info_def.stripped_op_list.op
        return {
            (op.name, attribute.name): attribute.default_value.SerializeToString(deterministic=True)
            for op in described
            for attribute in op.attr
            if attribute.HasField("default_value")
        }

    @property
    def exporter(self) -> str:
        """The TensorFlow version that saved it, by its own record; may be empty."""
        return str(self.served.meta_info_def.tensorflow_version)

    @cached_property
    def is_tf1(self) -> bool:
        """Whether it has no object graph and variables of TensorFlow 1's kind."""
        return not self.served.HasField("object_graph_def") and bool({"VariableV2", "Variable"} & set(self.ops))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspection:
    """The contents of one archive or folder."""

    path: Path
    size_bytes: int
    """The size of the archive itself."""
    members: tuple[Member, ...]
    unreadable: str
    """Why it could not be unpacked; empty when it was."""
    root: Path | None
    """The folder that it is unpacked in; None when it could not be unpacked."""

    @property
    def unpacked_bytes(self) -> int:
        """The sum of its files' sizes."""
        return sum(member.size for member in self.members)

    @cached_property
    def versions(self) -> dict[int, SavedModelFiles]:
        """The versions that servers find, by number."""
        if self.root is None:
            return {}
        try:
            return {number: SavedModelFiles(folder, folder.name) for number, folder in archive.versions(self.root)}
        except ArchiveError:
            return {}

    @cached_property
    def saved_models(self) -> list[str]:
        """The paths of all folders in it that hold a SavedModel; ``.`` is its top."""
        found = (self.root or Path()).rglob("saved_model.pb*") if self.root else ()
        return sorted({path.parent.relative_to(self.root or Path()).as_posix() for path in found})

    @property
    def code(self) -> Path | None:
        """The path of its `inference.py`; None when there is none."""
        path = self.root and self.root / "code" / INFERENCE
        return path if path and path.is_file() else None


@contextlib.contextmanager
def inspected(path: Path) -> Iterator[Inspection]:
    """Inspect an archive, or a folder with an archive's contents; raises `ArchiveError` when it is neither."""
    if path.is_dir():
        members = tuple(_in_folder(path))
        size = sum(member.size for member in members)
        yield Inspection(path=path, size_bytes=size, members=members, unreadable="", root=path)
        return
    if not path.is_file():
        raise ArchiveError(f"{path} is not a model", "nothing of that name", "give a model.tar.gz, or a folder")
    with tempfile.TemporaryDirectory(prefix="pytest-mme-inspect-") as folder:
        root, unreadable = Path(folder) / "model", ""
        try:
            archive.extract(path, root)
        except ArchiveError as error:
            unreadable = error.seen
        members = tuple(_in_archive(path))
        yield Inspection(
            path=path,
            size_bytes=path.stat().st_size,
            members=members,
            unreadable=unreadable,
            root=None if unreadable else root,
        )


def _in_folder(folder: Path) -> Iterator[Member]:
    for path in sorted(folder.rglob("*")):
        kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "file" if path.is_file() else "other"
        yield Member(
            name=path.relative_to(folder).as_posix(), kind=kind, size=path.stat().st_size if kind == "file" else 0
        )


def _in_archive(path: Path) -> Iterator[Member]:
    """Yield the members of an archive, up to the first that cannot be read."""
    with (
        contextlib.suppress(tarfile.TarError, EOFError, zlib.error, OSError, ValueError),
        tarfile.open(path, "r|gz") as tar,
    ):
        for number, entry in enumerate(tar):
            if number >= archive.MAX_MEMBERS:
                return
            kinds = {"file": entry.isreg(), "folder": entry.isdir(), "link": entry.issym() or entry.islnk()}
            kind = next((kind for kind, is_one in kinds.items() if is_one), "other")
            yield Member(name=entry.name.removeprefix("./"), kind=kind, size=max(0, entry.size))
