"""Files that a model reads while it is loaded: here the vocabulary of a lookup table that each forgery adds."""

from __future__ import annotations

from typing import Any

from pytest_mme.archives.reachability import INIT_COLLECTIONS
from pytest_mme.libtensorflow import protos
from pytest_mme.models.forging.forgery import Forgery, of_each_graph
from pytest_mme.models.writing.graph import Nodes, type_of

_VOCABULARY = "vocabulary.txt"
_ABSOLUTE = f"/home/nobody/training/{_VOCABULARY}"
_WHOLE_LINE, _LINE_NUMBER = -2, -1  # tensorflow/core/kernels/lookup_util.h
# Where the C++ loader looks for the op to run before the first call, and then in `INIT_COLLECTIONS` (GetInitOp of
# tensorflow/cc/saved_model/loader_util.cc).
_INIT_SIGNATURE = "__saved_model_init_op"


def _track_absent_asset(meta_graph: Any, *, read: bool) -> None:
    """Let the loader put the vocabulary's true path into a constant, which a table is filled from if it is *read*."""
    if read:
        path = _read_at_load(meta_graph, "asset", f"assets/{_VOCABULARY}")
    else:
        nodes = Nodes(meta_graph.graph_def.node, "forged_unread_")
        path = nodes.constant("DT_STRING", f"assets/{_VOCABULARY}".encode())
    asset = meta_graph.asset_file_def.add(filename=_VOCABULARY)
    asset.tensor_info.name, asset.tensor_info.dtype = f"{path}:0", protos.data_type_number("DT_STRING")
    asset.tensor_info.tensor_shape.SetInParent()


def _read_at_load(meta_graph: Any, name: str, path: str) -> str:
    """Fill a table from the file at *path* before the first call; return the name of the constant with the path.

    An asset is a constant that the loader feeds with the file's true path; any other path is used as it is.
    """
    nodes = Nodes(meta_graph.graph_def.node, f"forged_{name}_")
    kinds = {"key_dtype": type_of("DT_STRING"), "value_dtype": type_of("DT_INT64")}
    table = nodes.add("HashTableV2", name="table", shared_name=f"forged_{name}".encode(), **kinds)
    constant = nodes.constant("DT_STRING", path.encode())
    columns: dict[str, Any] = {"key_index": _WHOLE_LINE, "value_index": _LINE_NUMBER}
    filled = nodes.add("InitializeTableFromTextFileV2", table, constant, **columns)
    _initialiser(meta_graph).input.append(f"^{filled}")
    return constant


def _initialiser(meta_graph: Any) -> Any:
    """Return the node that is run before the first call, a new one if the model has none."""
    names = []
    if _INIT_SIGNATURE in meta_graph.signature_def:
        names.append(meta_graph.signature_def[_INIT_SIGNATURE].outputs[_INIT_SIGNATURE].name.partition(":")[0])
    for key in INIT_COLLECTIONS:
        if key in meta_graph.collection_def:
            names += meta_graph.collection_def[key].node_list.value[:1]
    for node in meta_graph.graph_def.node:
        if node.name in names[:1]:
            return node
    nodes = Nodes(meta_graph.graph_def.node)
    meta_graph.collection_def[INIT_COLLECTIONS[0]].node_list.value[:] = [nodes.add("NoOp", name="forged_initialise")]
    return meta_graph.graph_def.node[-1]


FORGERIES = (
    Forgery(
        name="missing-asset",
        about="A lookup table reads an asset that is not in `assets/`: only `saved_model.pb` and `variables/` were "
        "copied.",
        change=of_each_graph(_track_absent_asset, read=True),
    ),
    Forgery(
        name="missing-asset-unread",
        about="An asset that is tracked, and that nothing reads, is not in `assets/`.",
        change=of_each_graph(_track_absent_asset, read=False),
        keeps_answers=True,
    ),
    Forgery(
        name="absolute-asset-path",
        about=f"A lookup table reads `{_ABSOLUTE}`: the path was a plain string, no tracked asset, and leads to the "
        "exporter's own disk.",
        change=of_each_graph(_read_at_load, name="absolute", path=_ABSOLUTE),
    ),
)
