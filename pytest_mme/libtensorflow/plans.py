"""The parts of a signature's run that do not change, found once."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterable, Mapping
from ctypes import c_void_p

from pytest_mme.libtensorflow.capi import Library, Output
from pytest_mme.libtensorflow.signatures import Signature, TensorSpec
from pytest_mme.libtensorflow.tensors import STRING


class Plan:
    """A signature whose tensors have been found in the graph."""

    def __init__(self, library: Library, graph: c_void_p, signature: Signature) -> None:
        """Find the tensors; raises TypeError when numpy cannot express an input or output, KeyError when the graph does not have it."""
        self.signature = signature
        self.sources = _find(library, graph, signature, "input", signature.inputs)
        self.types = {
            name: STRING if library.TF_OperationOutputType(source) == STRING else spec.data_type
            for (name, spec), source in zip(signature.inputs.items(), self.sources, strict=True)
        }
        """The `DataType` of each input. Some old signatures declare a string as a float (TensorFlow Serving's half_plus_three)."""
        self.targets = _find(library, graph, signature, "output", signature.outputs)

    def feeds(self, names: Collection[str]) -> tuple[Iterable[str], ctypes.Array[Output]]:
        """Return the given inputs in the signature's order, and their places in the graph.

        All runs use one order: TensorFlow keeps an executor for each. TensorFlow itself checks for missing inputs.
        Raises KeyError for a name that the signature does not have.
        """
        known = self.signature.inputs
        fed = [(name, source) for name, source in zip(known, self.sources, strict=True) if name in names]
        if len(fed) != len(names):
            unknown = [name for name in names if name not in known]
            raise KeyError(f"no input {listed(unknown)} in signature {self.signature.name!r}; it has {listed(known)}")
        if len(fed) == len(known):
            return known, self.sources
        return [name for name, _ in fed], (Output * len(fed))(*(source for _, source in fed))


def listed(names: Iterable[str]) -> str:
    """Return names for a message: ``'a', 'b'``, or ``none``."""
    return ", ".join(repr(name) for name in sorted(names)) or "none"


def _find(
    library: Library, graph: c_void_p, signature: Signature, kind: str, specs: Mapping[str, TensorSpec]
) -> ctypes.Array[Output]:
    found = []
    for name, spec in specs.items():
        label = f"{kind} {name!r} of signature {signature.name!r}"
        try:
            _ = spec.dtype
        except TypeError as error:
            raise TypeError(f"{label}: {error}") from error
        node, _, index = spec.name.partition(":")
        operation = library.TF_GraphOperationByName(graph, node.encode())
        number = int(index) if index.isdecimal() else 0
        if operation is None or number >= library.TF_OperationNumOutputs(operation):
            raise KeyError(f"{label}: the graph has no tensor {spec.name!r}")
        found.append(Output(operation, number))
    return (Output * len(found))(*found)
