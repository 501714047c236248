"""A model that answers what it was asked, so that a body costs what bodies cost and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_mme.libtensorflow import protos
from pytest_mme.models.writing.graph import Nodes, new_graph, shape, type_of

NUMBERS, PAIRS, STRINGS = "serving_default", "pairs", "strings"
"""Its signatures: one input of numbers, two of them (`a` and `b`), one of strings."""

_FLOATS = ("DT_FLOAT", (None, None))
_INPUTS: Mapping[str, Mapping[str, tuple[str, tuple[None, ...]]]] = {
    NUMBERS: {"x": _FLOATS},
    PAIRS: {"a": _FLOATS, "b": _FLOATS},
    STRINGS: {"x": ("DT_STRING", (None,))},
}


def write(folder: Path) -> Path:
    """The SavedModel as version 1 below *folder*; returns *folder*."""
    meta_graph = protos.MetaGraphDef(graph_def=new_graph())
    meta_graph.meta_info_def.tags.append("serve")
    for signature, inputs in _INPUTS.items():
        nodes = Nodes(meta_graph.graph_def.node, f"{signature}_")
        for name, (data_type, dims) in inputs.items():
            _echo(nodes, name, data_type, shape(*dims), meta_graph.signature_def[signature])
    directory = folder / "1"
    directory.mkdir(parents=True)
    message = protos.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])
    (directory / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder


def _echo(nodes: Nodes, name: str, data_type: str, dims: Any, signature: Any) -> None:
    """An input and the output of the same *name*, described in *signature*."""
    asked = nodes.add("Placeholder", name=name, dtype=type_of(data_type), shape=dims)
    answered = nodes.add("Identity", asked, T=type_of(data_type))
    for infos, node in ((signature.inputs, asked), (signature.outputs, answered)):
        number = protos.data_type_number(data_type)
        infos[name].CopyFrom(protos.TensorInfo(name=f"{node}:0", dtype=number, tensor_shape=dims))
