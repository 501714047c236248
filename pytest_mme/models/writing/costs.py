"""The costs of a call, as nodes of the graph: memory held, CPU used, time passed; once per call, for any batch size.

Each function appends nodes that start once the nodes *after* have run, and returns those that a later one must wait for.
Only stateful ops are used where an optimiser could compute, move or drop the cost.
"""

from __future__ import annotations

from typing import Any

from pytest_mme.libtensorflow import protos
from pytest_mme.models.writing.graph import Nodes, shape, type_of, types_of

_STEP = 1 << 16  # numbers shuffled between two looks at the clock: some 0.5 ms of work


def unfoldable(nodes: Nodes, number: int, after: list[str] | None = None) -> str:
    """Return a vector of one, *number* as int64, from a stateful op, so that nothing that depends on it is folded at load.

    A `Fill` with constant dimensions becomes a constant: copied several times, and copied unchecked when memory is
    short (docs/facts.md).
    """
    low, high = nodes.constant("DT_INT64", number), nodes.constant("DT_INT64", number + 1)
    kinds = {"Tout": type_of("DT_INT64"), "T": type_of("DT_INT32")}
    return nodes.add("RandomUniformInt", nodes.constant("DT_INT32", [1]), low, high, after=after or (), **kinds)


def filled(nodes: Nodes, mib: int, after: list[str] | None = None) -> str:
    """Return a float32 vector of *mib* MiB, every page of it written."""
    kinds = {"T": type_of("DT_FLOAT"), "index_type": type_of("DT_INT64")}
    size = unfoldable(nodes, mib * (1 << 20) // 4, after)
    return nodes.add("Fill", size, nodes.constant("DT_FLOAT", 1.0), **kinds)


def burn(nodes: Nodes, graph: Any, busy_ms: int, after: list[str]) -> list[str]:
    """Keep one core busy for *busy_ms* milliseconds."""
    if not graph.library.function:
        # `mme_before(until)` is whether it is earlier, and `mme_step(until)` some work.
        before, body = _new_function(graph, "mme_before", "DT_BOOL")
        now = body.add("Timestamp")
        before.ret["result"] = body.add("Less", f"{now}:ts:0", "until", T=type_of("DT_DOUBLE")) + ":z:0"
        step, body = _new_function(graph, "mme_step", "DT_DOUBLE")
        numbers = body.add("Range", *(f"{body.constant('DT_INT32', one)}:output:0" for one in (0, _STEP, 1)))
        # Stateful, so nothing computes it beforehand, and written for one thread: other random ops use every core.
        shuffled = body.add("RandomShuffle", f"{numbers}:output:0", T=type_of("DT_INT32"))
        step.ret["result"] = body.add("Identity", "until", after=[shuffled], T=type_of("DT_DOUBLE")) + ":output:0"
    kinds = {"T": type_of("DT_DOUBLE")}
    length = nodes.constant("DT_DOUBLE", busy_ms / 1000)
    until = nodes.add("AddV2", nodes.add("Timestamp", after=after), length, **kinds)
    loop = {"T": types_of("DT_DOUBLE"), "cond": _function("mme_before"), "body": _function("mme_step")}
    return [nodes.add("While", until, **loop)]


def wait(nodes: Nodes, sleep_ms: int, after: list[str]) -> list[str]:
    """Let *sleep_ms* milliseconds pass without using a CPU, and stop early when the session closes."""
    flat = {"output_shapes": protos.AttrValue(list=protos.AttrValue.ListValue(shape=[shape()]))}
    kinds = {"output_types": types_of("DT_INT64"), **flat}
    one = nodes.add(
        "TensorDataset", nodes.constant("DT_INT64", 1), after=after, Toutput_types=types_of("DT_INT64"), **flat
    )
    slow = nodes.add("SleepDataset", one, nodes.constant("DT_INT64", sleep_ms * 1000), **kinds)
    # DatasetToSingleElement requests a second element, too: `TakeDataset` avoids the second sleep.
    first = nodes.add("TakeDataset", slow, nodes.constant("DT_INT64", 1), **kinds)
    return [nodes.add("DatasetToSingleElement", first, **kinds)]


def hold(nodes: Nodes, memory: str, after: list[str]) -> list[str]:
    """Keep the vector *memory* until the nodes *after* have run, then use it, so that it cannot be dropped before."""
    kinds = {"T": type_of("DT_FLOAT")}
    last = nodes.add("Max", memory, nodes.constant("DT_INT32", [0]), after=after, **kinds)
    fine = nodes.add("Equal", last, nodes.constant("DT_FLOAT", 1.0), **kinds)
    return [nodes.add("Assert", fine, last, T=types_of("DT_FLOAT"))]


def _new_function(graph: Any, name: str, result: str) -> tuple[Any, Nodes]:
    function = graph.library.function.add()
    function.signature.name = name
    function.signature.input_arg.add(name="until", type=protos.data_type_number("DT_DOUBLE"))
    function.signature.output_arg.add(name="result", type=protos.data_type_number(result))
    function.signature.is_stateful = True
    return function, Nodes(function.node_def)


def _function(name: str) -> Any:
    return protos.AttrValue(func={"name": name})
