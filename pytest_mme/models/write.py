"""Tiny SavedModels, written directly: under a millisecond each, and no `import tensorflow`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_mme.libtensorflow import protos
from pytest_mme.models.graph import Nodes, new_graph, shape, type_of
from pytest_mme.models.spec import ModelSpec

_INIT = "__saved_model_init_op"  # tensorflow/cc/saved_model/constants.h: what the loader runs before the first call


def write(spec: ModelSpec, directory: Path) -> None:
    """Write *spec* as ``<directory>/<version>/saved_model.pb`` for each of its versions (not for Keras models)."""
    for version in spec.versions:
        folder = directory / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(saved_model(spec, version).SerializeToString(deterministic=True))


def saved_model(spec: ModelSpec, version: int) -> Any:
    """The `SavedModel` message of one version of *spec*."""
    graph = new_graph()
    meta_graph = protos.MetaGraphDef()
    meta_graph.meta_info_def.tags.append("serve")
    for signature in spec.signatures:
        _write_signature(spec, version, signature, graph, meta_graph.signature_def[signature])
    if initialisers := _write_weights(spec, version, Nodes(graph.node)):
        done = Nodes(graph.node).add("NoOp", name="initialise", after=initialisers)
        meta_graph.signature_def[_INIT].outputs[_INIT].CopyFrom(_info(done, "DT_INVALID", None))
    meta_graph.graph_def.CopyFrom(graph)
    return protos.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])


def _write_signature(spec: ModelSpec, version: int, signature: str, graph: Any, described: Any) -> None:
    nodes = Nodes(graph.node, f"{signature}_")
    x = nodes.add("Placeholder", name="x", dtype=type_of("DT_FLOAT"), shape=shape(None, None))
    y = _linear(nodes, x, *spec.line(version, signature))
    identity = nodes.add(
        "Fill",
        _batch(nodes, x),
        nodes.constant("DT_STRING", spec.identity(version, signature).encode()),
        T=type_of("DT_STRING"),
    )
    described.method_name = "tensorflow/serving/predict"
    described.inputs["x"].CopyFrom(_info(x, "DT_FLOAT", (None, None)))
    described.outputs["y"].CopyFrom(_info(y, "DT_FLOAT", (None, None)))
    described.outputs["identity"].CopyFrom(_info(identity, "DT_STRING", (None,)))


def _linear(nodes: Nodes, x: str, slope: float, intercept: float) -> str:
    real = type_of("DT_FLOAT")
    product = nodes.add("Mul", x, nodes.constant("DT_FLOAT", slope), T=real)
    return nodes.add("AddV2", product, nodes.constant("DT_FLOAT", intercept), T=real)


def _batch(nodes: Nodes, x: str) -> str:
    """A vector of one: how many instances *x* holds."""
    whole = nodes.add("Shape", x, T=type_of("DT_FLOAT"))
    begin, size = nodes.constant("DT_INT32", [0]), nodes.constant("DT_INT32", [1])
    return nodes.add("Slice", whole, begin, size, T=type_of("DT_INT32"), Index=type_of("DT_INT32"))


def _write_weights(spec: ModelSpec, version: int, nodes: Nodes) -> list[str]:
    """A variable of `weights_mib`, filled by its initialiser; returns the initialisers to run."""
    if not spec.weights_mib:
        return []
    count = spec.weights_mib * (1 << 20) // 4
    variable = nodes.add(
        "VarHandleOp",
        name="weights",
        dtype=type_of("DT_FLOAT"),
        shape=shape(count),
        # Python's loader keeps all variables of a process in one place, by this name
        shared_name=f"{spec.digest}/{version}/weights".encode(),
    )
    value = nodes.add(
        "Fill",
        unfoldable(nodes, count),
        nodes.constant("DT_FLOAT", 1.0),
        T=type_of("DT_FLOAT"),
        index_type=type_of("DT_INT64"),
    )
    return [nodes.add("AssignVariableOp", variable, value, dtype=type_of("DT_FLOAT"))]


def unfoldable(nodes: Nodes, number: int) -> str:
    """A vector of one: *number*, from a stateful op, so that no optimiser computes at load what depends on it.

    A `Fill` with constant dimensions becomes a constant: copied several times, and copied unchecked when memory is
    short (docs/facts.md).
    """
    long = type_of("DT_INT64")
    low, high = nodes.constant("DT_INT64", number), nodes.constant("DT_INT64", number + 1)
    return nodes.add("RandomUniformInt", nodes.constant("DT_INT32", [1]), low, high, Tout=long, T=type_of("DT_INT32"))


def _info(tensor: str, data_type: str, dims: tuple[int | None, ...] | None) -> Any:
    info = protos.TensorInfo(name=f"{tensor}:0" if dims is not None else tensor)
    info.dtype = protos.data_type_number(data_type)
    info.tensor_shape.CopyFrom(shape(*dims) if dims is not None else protos.TensorShapeProto(unknown_rank=True))
    return info
