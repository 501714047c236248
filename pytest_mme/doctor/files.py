"""Findings on the files of a version: the graph's file, the variables, the assets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_mme.archives import checkpoint
from pytest_mme.archives.inspect import SERVE, Node, SavedModelFiles
from pytest_mme.doctor.finding import LOADER, Finding, Kind

DAMAGED_GRAPH = Kind(
    code="MME201",
    severity="error",
    title="saved_model.pb is damaged",
    why="it does not load",
    advice="export it again; look at what copied it",
    source=LOADER,
)
NO_SERVED_GRAPH = Kind(
    code="MME202",
    severity="error",
    title="no graph with the tag serve",
    why="servers load that one and no other",
    advice='save it with tags=["serve"], which is the default of tf.saved_model.save',
    source=LOADER,
)
NO_VARIABLES = Kind(
    code="MME203",
    severity="error",
    title="the variables are missing",
    why="it loads without them, and its first request fails",
    advice="pack variables/ along with saved_model.pb",
    source=LOADER,
)
DAMAGED_VARIABLES = Kind(
    code="MME204",
    severity="error",
    title="the variables are damaged",
    why="it does not load",
    advice="export it again; look at what copied it",
    source=LOADER,
)
MISSING_ASSET = Kind(
    code="MME205",
    severity="error",
    title="an asset is missing",
    why="it does not load, or its first request fails",
    advice="pack assets/ along with saved_model.pb",
    source=LOADER,
)
MISSING_UNREAD_ASSET = Kind(
    code="MME207",
    severity="info",
    title="an asset is missing that nothing reads",
    why="it is served as if it were there",
    advice="nothing needs to be done",
    source=LOADER,
)
ABSOLUTE_PATH = Kind(
    code="MME206",
    severity="error",
    title="the graph reads a file by an absolute path",
    why="where the server runs there is no such file",
    advice="track it as an asset: self.vocabulary = tf.saved_model.Asset(path), or initialise the table from tensors",
    source=LOADER,
)
UNFILLED = Kind(
    code="MME208",
    severity="error",
    title="a variable or table that nothing fills",
    why="it loads, and its first request fails: Could not find variable, or Table not initialized",
    advice="Keras 3: model.export(path); TensorFlow 1: give the builder main_op=tf.compat.v1.tables_initializer()",
    source=LOADER,
)
STORED_TWICE = Kind(
    code="MME209",
    severity="info",
    title="weights that are stored twice",
    why="each copy is restored when it is loaded, and takes its memory on the endpoint",
    advice="Keras 3's model.export does that: save a tf.Module that holds [one.value for one in model.variables] and a "
    "tf.function that calls the model",
    source="measured: docs/facts.md",
)
KINDS = (
    *(DAMAGED_GRAPH, NO_SERVED_GRAPH, NO_VARIABLES, DAMAGED_VARIABLES, MISSING_ASSET, ABSOLUTE_PATH),
    *(MISSING_UNREAD_ASSET, UNFILLED, STORED_TWICE),
)

_RESTORES = {"RestoreV2", "Restore", "RestoreSlice"}
_FILLED = {"VarHandleOp", "VariableV2", "Variable", "HashTableV2", "HashTable"}
_FILLS = {"AssignVariableOp", "Assign"}
_LARGE_BYTES = 1 << 20
_OBJECT_GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"  # tensorflow/python/checkpoint/trackable/base.py
_READS = {"InitializeTableFromTextFileV2", "InitializeTableFromTextFile"}


def look(model: SavedModelFiles) -> Iterator[Finding]:
    """Find what is wrong with the files."""
    if model.damage:
        yield Finding(kind=DAMAGED_GRAPH, where=model.name, fact=model.damage)
        return
    if model.served is None:
        tags = "; ".join(", ".join(tags) or "none" for tags in model.tags) or "there is no graph in it"
        yield Finding(kind=NO_SERVED_GRAPH, where=model.name, fact=f"seen: {tags}; wanted: {SERVE}")
        return
    yield from _variables(model)
    yield from _assets(model)
    yield from _unfilled(model)


def _variables(model: SavedModelFiles) -> Iterator[Finding]:
    folder = model.folder / "variables"
    if not (folder / "variables.index").is_file():
        if restored := _restored(model):
            what = "variables.index" if folder.is_dir() else "variables/"
            fact = f"there is no {what}; the graph restores {len(restored)}, such as {restored[0]}"
            yield Finding(kind=NO_VARIABLES, where=model.name, fact=fact)
        return
    try:
        wrong = checkpoint.check(folder)
    except checkpoint.DamagedError as error:
        wrong = [str(error)]
    for fact in wrong[:1] or _stored_twice(folder):
        kind = DAMAGED_VARIABLES if wrong else STORED_TWICE
        yield Finding(kind=kind, where=f"{model.name}/variables", fact=fact)


def _stored_twice(folder: Path) -> Iterator[str]:
    """Report large variables of equal content: the sum of the sizes of all copies but the first."""
    kept: dict[tuple[int, int, str], str] = {}
    copies = {}
    for entry in checkpoint.entries(folder / "variables.index"):
        if entry.size >= _LARGE_BYTES:
            first = kept.setdefault((entry.size, entry.checksum, entry.data_type), entry.key)
            if first != entry.key:
                copies[entry] = first
    if copies:
        entry, first = next(iter(copies.items()))
        mib = sum(copy.size for copy in copies) / _LARGE_BYTES
        yield f"{mib:.1f} MiB, such as {entry.key}, which is {first}"


def _restored(model: SavedModelFiles) -> list[str]:
    """Return the names of the variables that the graph restores; TensorFlow 2 writes a restore even without variables."""
    running = _Running(model)
    restores = (node for node in running.nodes if node.definition.op in _RESTORES)
    names = {name for node in restores for name in running.strings(node, 1) or [b"something"]}
    return sorted(name.decode(errors="replace") for name in names - {_OBJECT_GRAPH})


def _assets(model: SavedModelFiles) -> Iterator[Finding]:
    for asset in model.assets:
        if PurePosixPath(asset.filename).is_absolute():
            yield Finding(kind=ABSOLUTE_PATH, where=model.name, fact=asset.filename)
        elif not (model.folder / "assets" / asset.filename).is_file():
            kind = MISSING_ASSET if _is_read(model, _name(asset)) else MISSING_UNREAD_ASSET
            yield Finding(kind=kind, where=model.name, fact=f"there is no assets/{asset.filename}")
    for path in sorted(_absolute_paths(model)):
        yield Finding(kind=ABSOLUTE_PATH, where=model.name, fact=path)


def _name(asset: Any) -> str:
    return str(asset.tensor_info.name).partition(":")[0]


def _is_read(model: SavedModelFiles, path: str) -> bool:
    """Whether a node that runs takes the path, from the node of that name or from a variable that it is assigned to."""
    for node in _takers(model, path):
        first = node.input[0].partition(":")[0]  # an assignment's variable; any other node takes it, too
        if any(taker.op != "AssignVariableOp" for taker in _takers(model, first)):
            return True
    return False


def _unfilled(model: SavedModelFiles) -> Iterator[Finding]:
    """Find what a signature uses and neither the restore nor the initialisation fills; a request may fill it, too."""
    for node in model.served.graph_def.node:
        if node.op not in _FILLED or node.name not in model.running - model.filling:
            continue
        if not any(taker.op in _FILLS for taker in _takers(model, node.name)):
            yield Finding(kind=UNFILLED, where=model.name, fact=f"{node.name}, a {node.op}")
            return


def _takers(model: SavedModelFiles, name: str) -> Iterator[Any]:
    """Yield the nodes of the graph itself that run and take that node's output."""
    for node in model.served.graph_def.node:
        if node.name in model.running and any(given.partition(":")[0] == name for given in node.input):
            yield node


def _absolute_paths(model: SavedModelFiles) -> Iterator[str]:
    """Yield the constant paths that tables are read from, except those of assets, which the loader replaces."""
    running = _Running(model)
    tracked = {("", _name(asset)) for asset in model.assets}
    for node in running.nodes:
        if node.definition.op not in _READS or _given(node, 1) in tracked:
            continue
        for path in running.strings(node, 1):
            if path.startswith(b"/"):
                yield path.decode(errors="replace")


class _Running:
    """The nodes that run, and the constants among them."""

    def __init__(self, model: SavedModelFiles) -> None:
        self.nodes = [node for node in model.nodes() if node.runs]
        constants = (node for node in self.nodes if node.definition.op == "Const")
        self._constants = {(node.function, node.definition.name): node.definition for node in constants}

    def strings(self, node: Node, number: int) -> list[bytes]:
        """Return the strings of a node's input when it is a constant; otherwise none."""
        constant = self._constants.get(_given(node, number))
        return list(constant.attr["value"].tensor.string_val) if constant is not None else []


def _given(node: Node, number: int) -> tuple[str, str]:
    """Return the function of an input's source, and its name in it."""
    inputs = node.definition.input
    return node.function, inputs[number].partition(":")[0] if number < len(inputs) else ""
