"""Forgeries of the graph: nodes that this TensorFlow cannot read, place or run, which every prediction waits for.

The nodes are added, and the outputs wait for them unless the forgery leaves them unused, so that each forgery is the
same in every model.
"""

from __future__ import annotations

from typing import Any

from pytest_mme.archives.reachability import own_signatures
from pytest_mme.errors import ArchiveError
from pytest_mme.libtensorflow import protos
from pytest_mme.models.forging.forgery import Forgery, of_each_graph
from pytest_mme.models.writing.graph import Nodes, shape, tensor, type_of, types_of

_UNKNOWN_OP = "OpFromTheFuture"
_UNKNOWN_TYPE = protos.AttrValue(
    type=99
)  # tensorflow/core/framework/types.proto of 2.21 ends at 33; from 101 on they are references
_NEW_ATTRIBUTE = "attribute_from_the_future"


def _add(meta_graph: Any, op: str, *, name: str, used: bool = True, **attributes: Any) -> Any:
    """Append a node that every output waits for, or none if it is not *used*, and return it."""
    graph = meta_graph.graph_def
    outputs = _outputs(meta_graph) if used else []
    added = Nodes(graph.node, "forged_").add(op, name=name, **attributes)
    for node in outputs:
        node.input.append(f"^{added}")
    return graph.node[-1]


def _outputs(meta_graph: Any) -> list[Any]:
    """Return the nodes of the signatures' outputs."""
    signatures = (meta_graph.signature_def[name] for name in own_signatures(meta_graph))
    tensors = (info.name for signature in signatures for info in signature.outputs.values())
    names = {tensor.partition(":")[0] for tensor in tensors}
    if found := [node for node in meta_graph.graph_def.node if node.name in names]:
        return found
    raise ArchiveError(
        "no output to forge", "no signature has a tensor of the graph as its output", "use a model with a signature"
    )


def _add_unknown_op_in_function(meta_graph: Any, *, used: bool = True) -> None:
    _call(meta_graph, _add_function(meta_graph, "forged_unknown", _UNKNOWN_OP), used=used)


def _call_function_that_calls_missing_one(meta_graph: Any) -> None:
    calling = _calling("forged_missing_within")
    _call(meta_graph, _add_function(meta_graph, "forged_caller", "StatefulPartitionedCall", **calling))


def _call(meta_graph: Any, function: str, *, used: bool = True) -> None:
    _add(meta_graph, "StatefulPartitionedCall", name=f"calls_{function}", used=used, **_calling(function))


def _calling(function: str) -> dict[str, Any]:
    return {"Tin": types_of(), "Tout": types_of(), "f": protos.AttrValue(func={"name": function})}


def _add_function(meta_graph: Any, name: str, op: str, **attributes: Any) -> str:
    """Append a function without arguments and results, which ends when its one node, an *op*, has run."""
    function = meta_graph.graph_def.library.function.add()
    function.signature.name, function.signature.is_stateful = name, True
    function.signature.control_output.append("done")
    function.control_ret["done"] = Nodes(function.node_def).add(op, **attributes)
    return name


def _add_new_attribute(meta_graph: Any, *, value: bool) -> None:
    """Add an attribute that the exporter declares with the default False.

    Exporters declare the attributes of their ops and the defaults in `stripped_op_list` of
    tensorflow/core/protobuf/meta_graph.proto. The C++ loader does not read it.
    """
    _add(meta_graph, "NoOp", name=f"attribute_{value}".lower(), **{_NEW_ATTRIBUTE: value})
    ops = meta_graph.meta_info_def.stripped_op_list.op
    described = next((op for op in ops if op.name == "NoOp"), None) or ops.add(name="NoOp")
    described.attr.add(name=_NEW_ATTRIBUTE, type="bool").default_value.b = False


def _place_on_gpu(meta_graph: Any, *, used: bool = True) -> None:
    zero = {"dtype": type_of("DT_FLOAT"), "value": tensor("DT_FLOAT", 0.0)}
    on_gpu = _add(meta_graph, "Const", name="on_gpu", used=used, **zero)
    on_gpu.device = "/device:GPU:0"


FORGERIES = (
    Forgery(
        name="unknown-op",
        about="The graph uses an op that TensorFlow does not know: one of a later version, or a custom one whose "
        "library was not loaded.",
        change=of_each_graph(_add, op=_UNKNOWN_OP, name="unknown_op"),
    ),
    Forgery(
        name="unknown-op-in-function",
        about="A function of the graph uses an op that TensorFlow does not know; what `tf.function` traced lies there.",
        change=of_each_graph(_add_unknown_op_in_function),
    ),
    Forgery(
        name="unknown-op-unused",
        about="The graph has an op that TensorFlow does not know, and no answer needs it: what was there for training.",
        change=of_each_graph(_add, op=_UNKNOWN_OP, name="unknown_op", used=False),
    ),
    Forgery(
        name="unknown-op-in-function-unused",
        about="A function of the graph uses an op that TensorFlow does not know, and no answer needs the function.",
        change=of_each_graph(_add_unknown_op_in_function, used=False),
    ),
    Forgery(
        name="unknown-op-in-uncalled-function",
        about="A function that nothing calls uses an op that TensorFlow does not know: what `tf.function` traced for "
        "training, or for another device.",
        change=of_each_graph(_add_function, name="forged_unknown", op=_UNKNOWN_OP),
        keeps_answers=True,
    ),
    Forgery(
        name="attribute-from-the-future-default",
        about="An op that TensorFlow knows has an attribute that it does not, with its default value: saved by a later "
        "version and without stripping defaults.",
        change=of_each_graph(_add_new_attribute, value=False),
        keeps_answers=True,
    ),
    Forgery(
        name="attribute-from-the-future",
        about="An op that TensorFlow knows has an attribute that it does not, with another value than the default: "
        "saved by a later version, which takes it for something else.",
        change=of_each_graph(_add_new_attribute, value=True),
        keeps_answers=True,
    ),
    Forgery(
        name="unknown-dtype",
        about="A node has a type that TensorFlow does not know: later versions add some, mostly small numbers.",
        change=of_each_graph(_add, op="Placeholder", name="unknown_dtype", dtype=_UNKNOWN_TYPE, shape=shape()),
    ),
    Forgery(
        name="missing-function",
        about="The graph calls a function that its library does not have: a tool that edits graphs dropped it.",
        change=of_each_graph(_call, function="forged_missing"),
    ),
    Forgery(
        name="missing-function-unused",
        about="The graph calls a function that its library does not have, and no answer needs it.",
        change=of_each_graph(_call, function="forged_missing", used=False),
    ),
    Forgery(
        name="missing-nested-function",
        about="A function of the graph calls one that the library does not have: a tool that edits graphs dropped it.",
        change=of_each_graph(_call_function_that_calls_missing_one),
    ),
    Forgery(
        name="gpu-only-placement",
        about="A node is placed on a GPU by name: saved from within `tf.device('/GPU:0')` of TensorFlow 1, served on "
        "a CPU.",
        change=of_each_graph(_place_on_gpu),
        keeps_answers=True,
    ),
    Forgery(
        name="gpu-only-placement-unused",
        about="A node is placed on a GPU by name, and no answer needs it: an optimizer's, of TensorFlow 1.",
        change=of_each_graph(_place_on_gpu, used=False),
        keeps_answers=True,
    ),
)
