"""Findings on what a graph needs of the TensorFlow that serves it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pytest_mme import versions
from pytest_mme.archives.inspect import Node, SavedModelFiles
from pytest_mme.archives.op_registry import registry
from pytest_mme.archives.reachability import calls
from pytest_mme.doctor.finding import LOADER, Finding, Kind
from pytest_mme.libtensorflow import protos
from pytest_mme.models.spec import DEFAULT_SIGNATURE

_REGISTRY = "the releases' own lists of operations (tools/make_op_registry.py)"
_VERSIONS = "TensorFlow, core/framework/versions.proto; " + LOADER

REFUSES_VERSION = Kind(
    code="MME301",
    severity="error",
    title="the graph refuses this TensorFlow",
    why="it does not load",
    advice="serve it with the version that it was saved by, or export it again",
    source=_VERSIONS,
)
BAD_PRODUCER = Kind(
    code="MME302",
    severity="error",
    title="the graph has an invalid producer version",
    why="it does not load",
    advice="export it again: a tool wrote the field",
    source=_VERSIONS,
)
LATER_OP = Kind(
    code="MME303",
    severity="error",
    title="an operation that this TensorFlow does not have",
    why="it does not load: Op type not registered",
    advice="serve it with a version that has it, or export the model without it",
    source=_REGISTRY,
)
CUSTOM_OP = Kind(
    code="MME304",
    severity="error",
    title="a custom operation",
    why="it does not load unless its library is loaded first: Op type not registered. TensorFlow Serving brings some "
    "of TensorFlow Text's along, and from 2.11 on those of TensorFlow Decision Forests",
    advice="serve it in an image that loads the library; test it with op_libraries=",
    source=_REGISTRY + "; TensorFlow Serving, release notes of 2.0; TensorFlow Decision Forests, its page on Serving",
)
NO_CPU_KERNEL = Kind(
    code="MME305",
    severity="warning",
    title="an operation without a kernel for the CPU",
    why="it does not load, or its first request fails: No OpKernel was registered",
    advice="serve it on a GPU, or export the model without it",
    source=_REGISTRY,
)
LATER_ATTRIBUTE = Kind(
    code="MME306",
    severity="warning",
    title="an attribute that this TensorFlow does not know",
    why="it loads, and what the attribute asks for is not done: answers may differ",
    advice="compare its answers on that version, or serve it with a later one",
    source=_REGISTRY + "; " + LOADER,
)
LATER_TYPE = Kind(
    code="MME307",
    severity="error",
    title="a type that the operation does not take in this TensorFlow",
    why="it does not load",
    advice="serve it with a later version, or cast in the model",
    source=_REGISTRY,
)
UNKNOWN_TYPE = Kind(
    code="MME308",
    severity="error",
    title="a type that no TensorFlow has",
    why="it does not load",
    advice="export it again: a tool wrote the field, or a TensorFlow that is newer than this list",
    source="TensorFlow, core/framework/types.proto; " + LOADER,
)
MISSING_FUNCTION = Kind(
    code="MME309",
    severity="error",
    title="a function that is called is not there",
    why="it does not load, or its first request fails",
    advice="export it again: a tool that edits graphs dropped it",
    source=LOADER,
)
GPU_ONLY = Kind(
    code="MME310",
    severity="error",
    title="an operation is placed on a GPU by name",
    why="on a CPU it does not load",
    advice="save it without tf.device, or with clear_devices=True",
    source=LOADER,
)
NO_SIGNATURE = Kind(
    code="MME311",
    severity="error",
    title="no signature",
    why="it loads, and no request is answered",
    advice="tf.saved_model.save(model, path, signatures=model.call), or model.export(path)",
    source=LOADER,
)
NO_DEFAULT_SIGNATURE = Kind(
    code="MME315",
    severity="warning",
    title=f"no signature {DEFAULT_SIGNATURE}",
    why="a request that names no signature_name fails",
    advice=f"call one of them {DEFAULT_SIGNATURE}, or name one in every request",
    source="TensorFlow Serving, RESTful API: signature_name",
)
BROKEN_SIGNATURE = Kind(
    code="MME312",
    severity="error",
    title="a signature names a tensor that is not there",
    why="it loads, and the first request fails",
    advice="export it again: the graph was edited after it had been exported",
    source=LOADER,
)
TF1_GRAPH = Kind(
    code="MME313",
    severity="info",
    title="a graph of TensorFlow 1",
    why="it is served as any other; what it may not be is fine-tuned",
    advice="nothing needs to be done",
    source="TensorFlow, migration guide: SavedModel",
)
LATER_EXPORTER = Kind(
    code="MME314",
    severity="info",
    title="saved by a later TensorFlow than the one that serves",
    why="TensorFlow promises that for the patch releases of a minor version only; mostly it works",
    advice="test it on that version: pytest --mme-tf",
    source="TensorFlow, version compatibility",
)
LARGE_REQUEST = Kind(
    code="MME316",
    severity="warning",
    title="an input that no request can hold",
    why="the body of a request may have 6 291 456 bytes",
    advice="have the model read a smaller or an encoded form, such as a JPEG",
    source='AWS, "InvokeEndpoint": the body\'s limit',
)
KINDS = (
    *(REFUSES_VERSION, BAD_PRODUCER, LATER_OP, CUSTOM_OP, NO_CPU_KERNEL, LATER_ATTRIBUTE, LATER_TYPE, UNKNOWN_TYPE),
    *(MISSING_FUNCTION, GPU_ONLY, NO_SIGNATURE, BROKEN_SIGNATURE, TF1_GRAPH, LATER_EXPORTER, NO_DEFAULT_SIGNATURE),
    LARGE_REQUEST,
)

_TYPES = frozenset(protos.data_type_numbers())
_INFORM = {"debug_name"}
"""Attributes without effect, like those whose names begin with an underscore: notes of the graph's builder."""
_DECLARED_ONLY = {("GatherNd", "bad_indices_policy", "2.17")}
"""Attributes that a release has and ignores (measured: docs/versions.md)."""
_REWRITTEN = {"AccumulateNV2"}
"""Operations that need no kernel: the runtime rewrites them (core/common_runtime/accumulate_n_optimizer.cc; measured)."""
_BYTES_OF_A_NUMBER = 2
"""At least, in JSON with its comma."""
_MAX_BODY_BYTES = 6_291_456
_REFERENCES = 100
"""The numbers of TensorFlow 1's reference types, such as ``DT_FLOAT_REF``, are a hundred more than their types'."""


def look(model: SavedModelFiles) -> Iterator[Finding]:
    """Find what is wrong for every version."""
    yield from _signatures(model)
    producer = model.served.graph_def.versions.producer
    if producer < 0:
        yield Finding(kind=BAD_PRODUCER, where=model.name, fact=f"its producer is {producer}")
    if model.is_tf1:
        yield Finding(kind=TF1_GRAPH, where=model.name, fact="it has variables of TensorFlow 1 and no object graph")
    yield from _once(_of_nodes(model))


def _of_nodes(model: SavedModelFiles) -> Iterator[Finding]:
    for node in filter(lambda node: node.is_read, model.nodes()):
        op = node.definition.op
        if op not in model.functions and registry().span(op) is None:
            yield Finding(kind=CUSTOM_OP, where=model.name, fact=f"{op}, at {node.where}")
        for name, value in node.definition.attr.items():
            for number in _types_in(value):
                if number % _REFERENCES not in _TYPES:
                    yield Finding(kind=UNKNOWN_TYPE, where=model.name, fact=f"{name}={number}, at {node.where}")
        if node.is_placed:
            yield from _of_placed(model, node)


def _of_placed(model: SavedModelFiles, node: Node) -> Iterator[Finding]:
    if "GPU" in node.definition.device.upper():
        yield Finding(kind=GPU_ONLY, where=model.name, fact=f"{node.definition.device}, at {node.where}")
    for called in calls(node.definition):
        if called not in model.functions and registry().span(called) is None:  # it may be an operation, too
            yield Finding(kind=MISSING_FUNCTION, where=model.name, fact=f"{called}, called by {node.where}")


def _types_in(value: Any) -> list[int]:
    return [value.type] if value.HasField("type") else list(value.list.type)


def _signatures(model: SavedModelFiles) -> Iterator[Finding]:
    if not model.signatures:
        yield Finding(kind=NO_SIGNATURE, where=model.name, fact="it has none")
    elif DEFAULT_SIGNATURE not in model.signatures:
        names = ", ".join(model.signatures)
        yield Finding(kind=NO_DEFAULT_SIGNATURE, where=model.name, fact=f"its signatures: {names}")
    there = {node.name for node in model.served.graph_def.node}
    for name, signature in model.signatures.items():
        tensors = [spec.name for spec in (*signature.inputs.values(), *signature.outputs.values()) if spec.name]
        for key, spec in signature.inputs.items():
            numbers = math.prod(size or 1 for size in spec.shape or ())
            if numbers * _BYTES_OF_A_NUMBER > _MAX_BODY_BYTES:
                fact = f"{name}: {key}, {numbers} numbers at the least"
                yield Finding(kind=LARGE_REQUEST, where=model.name, fact=fact)
        if missing := [tensor for tensor in tensors if tensor.partition(":")[0] not in there]:
            yield Finding(kind=BROKEN_SIGNATURE, where=model.name, fact=f"{name}: {missing[0]}")


def look_for(model: SavedModelFiles, version: str) -> Iterator[Finding]:
    """Find what is wrong when this TensorFlow serves; raises ValueError for a version that the registry does not have."""
    known, produced = registry(), model.served.graph_def.versions
    served = known.graph_def(version)
    if produced.min_consumer > served or served in produced.bad_consumers:
        wanted = f"requires {produced.min_consumer} or later" if produced.min_consumer > served else "disallows that"
        fact = f"its GraphDef version is {served}; it {wanted}"
        yield Finding(kind=REFUSES_VERSION, where=model.name, tensorflow=version, fact=fact)
    if _is_later(model.exporter, version):
        yield Finding(kind=LATER_EXPORTER, where=model.name, tensorflow=version, fact=f"by {model.exporter}")
    yield from _once(_of_nodes_for(model, version))


def _of_nodes_for(model: SavedModelFiles, version: str) -> Iterator[Finding]:
    for node in filter(lambda node: node.is_read, model.nodes()):
        op = node.definition.op
        span = registry().span(op)
        if span is None or op in model.functions:
            continue
        if not registry().has(op, version):
            fact = f"{op}, at {node.where}: it is in {span[0]} to {span[1]}"
            yield Finding(kind=LATER_OP, where=model.name, tensorflow=version, fact=fact)
            continue
        if node.is_placed and op not in _REWRITTEN and not registry().runs_on_cpu(op, version):
            yield Finding(kind=NO_CPU_KERNEL, where=model.name, tensorflow=version, fact=f"{op}, at {node.where}")
        yield from _attributes(model, node, version)


def _attributes(model: SavedModelFiles, node: Node, version: str) -> Iterator[Finding]:
    op, known = node.definition.op, registry()
    for name, value in node.definition.attr.items():
        if name.startswith("_") or name in _INFORM:
            continue
        if not known.has_attribute(op, name, version) or (op, name, versions.minor(version)) in _DECLARED_ONLY:
            defaults = (known.default(op, name), model.defaults.get((op, name)))
            if node.runs and value.SerializeToString(deterministic=True) not in defaults:
                since = known.attribute_since(op, name)
                known_by = f"known since {since}" if since else "known to no release"
                fact = f"{name} of {op}, at {node.where}: {known_by}"
                yield Finding(kind=LATER_ATTRIBUTE, where=model.name, tensorflow=version, fact=fact)
            continue
        for number in _types_in(value):
            data_type = protos.data_type_name(number % _REFERENCES)
            if number % _REFERENCES in _TYPES and not known.takes(op, name, data_type, version):
                fact = f"{name}={data_type} of {op}, at {node.where}"
                yield Finding(kind=LATER_TYPE, where=model.name, tensorflow=version, fact=fact)


def _once(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Keep the first finding of each kind and subject, what its fact begins with: a graph may use one a thousand times."""
    seen = set()
    for finding in findings:
        what = (finding.kind.code, finding.fact.partition(", ")[0])
        if what not in seen:
            seen.add(what)
            yield finding


def _is_later(exporter: str, version: str) -> bool:
    try:
        return [int(part) for part in exporter.split(".")[:2]] > [int(part) for part in version.split(".")[:2]]
    except ValueError:
        return False
