"""SavedModels as a team may bring them: nothing in them tells the kit what they predict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_mme.libtensorflow import protos
from pytest_mme.models.writing.graph import Nodes, new_graph, shape, type_of


def write_casts(folder: Path, outputs: Mapping[str, str], *, noisy: bool = False) -> Path:
    """A SavedModel that predicts its input, floats in rows of any length, as each type of *outputs*, by name.

    A *noisy* one adds a random number to it, another at each call.
    """
    graph = new_graph()
    nodes = Nodes(graph.node)
    floats = {"T": type_of("DT_FLOAT")}
    x = nodes.add("Placeholder", name="x", dtype=type_of("DT_FLOAT"), shape=shape(None, None))
    value = x
    if noisy:
        one = nodes.constant("DT_INT32", [1])
        noise = nodes.add("RandomUniform", one, dtype=type_of("DT_FLOAT"), T=type_of("DT_INT32"))
        value = nodes.add("AddV2", x, noise, **floats)
    meta_graph = protos.MetaGraphDef(graph_def=graph)
    meta_graph.meta_info_def.tags.append("serve")
    signature = meta_graph.signature_def["serving_default"]
    described = [(signature.inputs["x"], x, "DT_FLOAT")]
    for name, data_type in outputs.items():
        cast = nodes.add("Cast", value, SrcT=type_of("DT_FLOAT"), DstT=type_of(data_type))
        described.append((signature.outputs[name], cast, data_type))
    signature.method_name = "tensorflow/serving/predict"
    for tensor, node, data_type in described:
        tensor.name, tensor.dtype = f"{node}:0", protos.data_type_number(data_type)
        tensor.tensor_shape.CopyFrom(shape(None, None))
    folder.mkdir(parents=True)
    meta_graph.graph_def.CopyFrom(graph)
    (folder / "saved_model.pb").write_bytes(protos.SavedModel(meta_graphs=[meta_graph]).SerializeToString())
    return folder
