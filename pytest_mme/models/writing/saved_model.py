"""Tiny SavedModels, written directly: under a millisecond each, and no `import tensorflow`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_mme.libtensorflow import protos
from pytest_mme.models.spec import ModelSpec
from pytest_mme.models.writing import costs
from pytest_mme.models.writing.graph import Nodes, new_graph, shape, type_of

# The key of what loaders run before the first call (tensorflow/cc/saved_model/constants.h). The newer way, a signature named
# `__saved_model_init_op`, would be listed among the model's own signatures.
_MAIN_OP = "saved_model_main_op"
_NUMBERS = ("DT_FLOAT", (None, None))
_STRINGS = ("DT_STRING", (None,))


def write(spec: ModelSpec, directory: Path) -> None:
    """Write *spec* as ``<directory>/<version>/saved_model.pb`` for each version; raises ValueError if TensorFlow must save it."""
    for version in spec.versions:
        folder = directory / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(saved_model(spec, version).SerializeToString(deterministic=True))


def saved_model(spec: ModelSpec, version: int) -> Any:
    """Return the `SavedModel` message of one version of *spec*."""
    if spec.exported:
        raise ValueError(f"model {spec.name!r} can only be saved by TensorFlow's Python package (exporting/build.py)")
    writing = _Version(spec, version)
    meta_graph = protos.MetaGraphDef()
    meta_graph.meta_info_def.tags.append("serve")
    for signature in spec.signatures:
        writing.add_signature(signature, meta_graph.signature_def[signature])
    if initialise := writing.add_initialiser():
        meta_graph.collection_def[_MAIN_OP].node_list.value.append(initialise)
    meta_graph.graph_def.CopyFrom(writing.graph)
    return protos.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])


class _Version:
    """One version of a model while it is written: its graph and what must run before the first call."""

    def __init__(self, spec: ModelSpec, version: int) -> None:
        self.spec, self.version = spec, version
        self.graph = new_graph()
        self._nodes = Nodes(self.graph.node)
        self._initialisers: list[str] = []
        if spec.weights_mib:
            count = spec.weights_mib * (1 << 20) // 4
            self._add_variable("weights", shape(count), costs.filled(self._nodes, spec.weights_mib))
        if spec.kind == "counter":
            self._count = self._add_variable("count", shape(), self._nodes.constant("DT_FLOAT", 0.0))

    def add_signature(self, signature: str, described: Any) -> None:
        """Append what *signature* computes, and describe it in *described*, a `SignatureDef`."""
        nodes = Nodes(self.graph.node, f"{signature}_")
        takes = _STRINGS if self.spec.kind == "text" else _NUMBERS
        x = nodes.add("Placeholder", name="x", dtype=type_of(takes[0]), shape=shape(*takes[1]))
        checked = nodes.add("EnsureShape", x, T=type_of(takes[0]), shape=shape(*takes[1]))
        y, last = self._prediction(nodes, signature, checked)
        name = nodes.constant("DT_STRING", self.spec.identity(self.version, signature).encode())
        sizes = nodes.add("Shape", checked, T=type_of(takes[0]))
        begin, size = nodes.constant("DT_INT32", [0]), nodes.constant("DT_INT32", [1])
        instances = nodes.add("Slice", sizes, begin, size, T=type_of("DT_INT32"), Index=type_of("DT_INT32"))
        identity = nodes.add("Fill", instances, name, T=type_of("DT_STRING"))
        described.method_name = "tensorflow/serving/predict"
        described.inputs["x"].CopyFrom(_tensor(x, takes))
        described.outputs["y"].CopyFrom(_tensor(_output(nodes, "y", y, takes[0], last), takes))
        described.outputs["identity"].CopyFrom(
            _tensor(_output(nodes, "identity", identity, "DT_STRING", last), _STRINGS)
        )

    def _prediction(self, nodes: Nodes, signature: str, x: str) -> tuple[str, list[str]]:
        """Return the tensor to predict with, and the nodes that must run before the outputs."""
        if self.spec.kind == "text":
            greeting = nodes.constant("DT_STRING", f"{self.spec.identity(self.version, signature)}: ".encode())
            return nodes.add("StringJoin", greeting, x, N=2), self._add_costs(nodes, [])
        if self.spec.kind == "counter":
            return self._counted(nodes, x)
        if self.spec.custom_op:
            x = nodes.add(self.spec.custom_op.name, x)
        slope, intercept = (nodes.constant("DT_FLOAT", value) for value in self.spec.line(self.version, signature))
        product = nodes.add("Mul", x, slope, T=type_of("DT_FLOAT"))
        return nodes.add("AddV2", product, intercept, T=type_of("DT_FLOAT")), self._add_costs(nodes, [])

    def _counted(self, nodes: Nodes, x: str) -> tuple[str, list[str]]:
        """Read, then spend the costs, then assign: not atomic, so that two calls at once lose an update."""
        real = {"T": type_of("DT_FLOAT")}
        before = nodes.add("ReadVariableOp", self._count, dtype=type_of("DT_FLOAT"))
        amounts = nodes.add("Sum", x, nodes.constant("DT_INT32", [1]), keep_dims=True, **real)
        after_each = nodes.add(
            "AddV2", before, nodes.add("Cumsum", amounts, nodes.constant("DT_INT32", 0), **real), **real
        )
        after_all = nodes.add("AddV2", before, nodes.add("Sum", x, nodes.constant("DT_INT32", [0, 1]), **real), **real)
        spent = self._add_costs(nodes, [before])
        kinds = {"dtype": type_of("DT_FLOAT")}
        return after_each, [nodes.add("AssignVariableOp", self._count, after_all, after=spent, **kinds)]

    def _add_costs(self, nodes: Nodes, after: list[str]) -> list[str]:
        """Append memory first, then CPU, then the wait; the memory is held until its end."""
        spec, memory = self.spec, ""
        if spec.allocate_mib:
            memory = costs.filled(nodes, spec.allocate_mib, after)
            after = [memory]
        if spec.busy_ms:
            after = costs.burn(nodes, self.graph, spec.busy_ms, after)
        if spec.sleep_ms:
            after = costs.wait(nodes, spec.sleep_ms, after)
        return costs.hold(nodes, memory, after) if memory else after

    def _add_variable(self, name: str, dims: Any, value: str) -> str:
        # Python's loader keeps the variables of all models of a process in one place, by their shared names.
        shared_name = f"{self.spec.digest}/{self.version}/{name}".encode()
        kinds = {"dtype": type_of("DT_FLOAT")}
        variable = self._nodes.add("VarHandleOp", name=name, shape=dims, shared_name=shared_name, **kinds)
        self._initialisers.append(self._nodes.add("AssignVariableOp", variable, value, **kinds))
        return variable

    def add_initialiser(self) -> str:
        """Append the operation that fills the variables, and return its name, or "" when there are none."""
        return self._nodes.add("NoOp", name="initialise", after=self._initialisers) if self._initialisers else ""


def _output(nodes: Nodes, name: str, value: str, data_type: str, after: list[str]) -> str:
    return nodes.add("Identity", value, name=name, after=after, T=type_of(data_type))


def _tensor(node: str, kind: tuple[str, tuple[int | None, ...]]) -> Any:
    data_type, dims = kind
    info = protos.TensorInfo(name=f"{node}:0", dtype=protos.data_type_number(data_type))
    info.tensor_shape.CopyFrom(shape(*dims))
    return info
