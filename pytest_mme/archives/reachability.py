"""Finds the nodes of a graph that run when a model is loaded and invoked; many are left over from training.

What the loader reads beyond those was measured: docs/versions.md, the forgeries that end in ``-unused``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

# The nodes that the C++ loader runs by itself: `RunRestore` of tensorflow/cc/saved_model/loader.cc for the variables, `GetInitOp` of
# loader_util.cc for a signature of its own, or else a collection.
_INTERNAL = "__saved_model_"
INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")


def reached_nodes(meta_graph: Any, wanted: Iterable[str]) -> set[str]:
    """Return the names of the graph's nodes that must run for the *wanted* tensors and operations; including those themselves."""
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    reached: set[str] = set()
    left = list(wanted)
    while left:
        name = left.pop().removeprefix("^").partition(":")[0]  # a reference is ``name``, ``name:0`` or ``^name``
        if name in nodes and name not in reached:
            reached.add(name)
            left += nodes[name].input
    return reached


def own_signatures(meta_graph: Any) -> list[str]:
    """Return the names of the signatures that requests can name, without those that the loader itself runs."""
    return sorted(name for name in meta_graph.signature_def if not name.startswith(_INTERNAL))


def signature_outputs(meta_graph: Any) -> Iterator[str]:
    """Yield the tensors that the signatures return."""
    for name in own_signatures(meta_graph):
        yield from _outputs(meta_graph.signature_def[name])


def _outputs(signature: Any) -> Iterator[str]:
    for tensor in signature.outputs.values():
        sparse = tensor.coo_sparse
        yield tensor.name
        yield from (sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name)
        yield from (part.name for part in tensor.composite_tensor.components)


def loaded(meta_graph: Any) -> Iterator[str]:
    """Yield the nodes that the loader runs by itself: it restores the variables, then initialises."""
    yield meta_graph.saver_def.restore_op_name
    for name, signature in meta_graph.signature_def.items():
        if name.startswith(_INTERNAL):
            yield from _outputs(signature)
    for key in INIT_COLLECTIONS:
        if key in meta_graph.collection_def:
            yield from meta_graph.collection_def[key].node_list.value


def reached_functions(meta_graph: Any, nodes: Iterable[Any]) -> set[str]:
    """Return the names of the library's functions that these nodes call, and those that they call in turn.

    Nodes that a function's results do not need are counted, too: a loader skips fewer of those.
    """
    library = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    reached: set[str] = set()
    left = [name for node in nodes for name in _may_call(node)]
    while left:
        name = left.pop()
        if name in library and name not in reached:
            reached.add(name)
            left += (called for node in library[name].node_def for called in _may_call(node))
    return reached


def _may_call(node: Any) -> Iterator[str]:
    """Yield the functions that a node may call; its operation may be one, too."""
    yield node.op
    yield from calls(node)


def calls(node: Any) -> Iterator[str]:
    """Yield the functions that a node's attributes name, without those that only inform, such as of its gradient."""
    for value in node.attr.values():
        functions: Iterable[Any] = [value.func] if value.HasField("func") else value.list.func
        yield from (function.name for function in functions if function.name)
