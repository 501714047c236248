"""What lies in a version's folder: the graph's file, the variables, the assets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from pytest_mme.models import checkpoint
from pytest_mme.models.doctor.finding import Finding, Kind
from pytest_mme.models.inspect import SERVE, SavedModelFiles

_LOADER = "measured with TensorFlow's C++ loader (docs/versions.md)"

DAMAGED_GRAPH = Kind(
    code="MME201",
    severity="error",
    title="saved_model.pb is damaged",
    why="it does not load",
    advice="export it again; look at what copied it",
    source=_LOADER,
)
NO_SERVED_GRAPH = Kind(
    code="MME202",
    severity="error",
    title="no graph with the tag serve",
    why="servers load that one and no other",
    advice='save it with tags=["serve"], which is the default of tf.saved_model.save',
    source=_LOADER,
)
NO_VARIABLES = Kind(
    code="MME203",
    severity="error",
    title="the variables are missing",
    why="it loads without them, and its first request fails",
    advice="pack variables/ along with saved_model.pb",
    source=_LOADER,
)
DAMAGED_VARIABLES = Kind(
    code="MME204",
    severity="error",
    title="the variables are damaged",
    why="it does not load",
    advice="export it again; look at what copied it",
    source=_LOADER,
)
MISSING_ASSET = Kind(
    code="MME205",
    severity="error",
    title="an asset is missing",
    why="it does not load",
    advice="pack assets/ along with saved_model.pb",
    source=_LOADER,
)
ABSOLUTE_PATH = Kind(
    code="MME206",
    severity="error",
    title="the graph reads a file by an absolute path",
    why="where the server runs there is no such file",
    advice="track it as an asset: self.vocabulary = tf.saved_model.Asset(path), or initialise the table from tensors",
    source=_LOADER,
)
KINDS = (DAMAGED_GRAPH, NO_SERVED_GRAPH, NO_VARIABLES, DAMAGED_VARIABLES, MISSING_ASSET, ABSOLUTE_PATH)

_RESTORES = {"RestoreV2", "Restore", "RestoreSlice"}
_READS = {"InitializeTableFromTextFileV2", "InitializeTableFromTextFile"}


def look(model: SavedModelFiles) -> Iterator[Finding]:
    """What is wrong with the files."""
    if model.damage:
        yield Finding(kind=DAMAGED_GRAPH, where=model.name, fact=model.damage)
        return
    if model.served is None:
        tags = "; ".join(", ".join(tags) or "none" for tags in model.tags) or "there is no graph in it"
        yield Finding(kind=NO_SERVED_GRAPH, where=model.name, fact=f"seen: {tags}; wanted: {SERVE}")
        return
    yield from _variables(model)
    yield from _assets(model)


def _variables(model: SavedModelFiles) -> Iterator[Finding]:
    folder = model.folder / "variables"
    if not (folder / "variables.index").is_file():
        if restores := sum(model.ops[op] for op in _RESTORES):
            what = "variables.index" if folder.is_dir() else "variables/"
            yield Finding(
                kind=NO_VARIABLES, where=model.name, fact=f"there is no {what}; the graph restores {restores} sets"
            )
        return
    try:
        wrong = checkpoint.check(folder)
    except checkpoint.DamagedError as error:
        wrong = [str(error)]
    for fact in wrong[:1]:
        yield Finding(kind=DAMAGED_VARIABLES, where=f"{model.name}/variables", fact=fact)


def _assets(model: SavedModelFiles) -> Iterator[Finding]:
    for asset in model.served.asset_file_def:
        if PurePosixPath(asset.filename).is_absolute():
            yield Finding(kind=ABSOLUTE_PATH, where=model.name, fact=asset.filename)
        elif not (model.folder / "assets" / asset.filename).is_file():
            yield Finding(kind=MISSING_ASSET, where=model.name, fact=f"there is no assets/{asset.filename}")
    tracked = {asset.tensor_info.name.partition(":")[0] for asset in model.served.asset_file_def}
    for path in sorted(_absolute_paths(model, tracked)):
        yield Finding(kind=ABSOLUTE_PATH, where=model.name, fact=path)


def _absolute_paths(model: SavedModelFiles, tracked: set[str]) -> Iterator[str]:
    """The constants that tables are read from, where they are no assets: those the loader puts right."""
    constants = {node.definition.name: node.definition for node in model.nodes() if node.definition.op == "Const"}
    for node in model.nodes():
        if node.definition.op not in _READS or len(node.definition.input) < 2:
            continue
        source = node.definition.input[1].partition(":")[0]
        values = list(constants[source].attr["value"].tensor.string_val) if source in constants else []
        if source not in tracked and len(values) == 1 and values[0].startswith(b"/"):
            yield values[0].decode(errors="replace")
