"""A model whose calls, or whose load, wait until the test lets them go: no test has to sleep to meet a moment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from pytest_mme.libtensorflow import protos
from pytest_mme.models.writing.graph import Nodes, new_graph, shape, type_of
from pytest_mme.waiting import wait_for


class Gate:
    """A named pipe: who opens it to read waits until the test has opened it to write.

    Whoever waited then finds a pipe, which TensorFlow cannot read from: its request ends in INVALID_ARGUMENT.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """In the block a process of ours stands before the gate; at its end it may pass."""
        wait_for(lambda: any(map(_stands_before_a_gate, _our_threads())) or None, what="a reader", timeout_s=20)
        try:
            yield
        finally:
            with suppress(OSError):  # ENXIO: nobody stands there any more
                os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))


def _our_threads() -> Iterator[Path]:
    for process in psutil.Process().children(recursive=True):
        yield from Path(f"/proc/{process.pid}/task").glob("*")


def _stands_before_a_gate(thread: Path) -> bool:
    """Whether a thread waits for the other end of a named pipe, in the kernel's own words."""
    try:
        return (thread / "wchan").read_text() == "wait_for_partner"
    except OSError:  # the thread has ended
        return False


def write_gated_model(folder: Path) -> Path:
    """A SavedModel that reads the file named by its one instance, and answers with what it read."""
    graph = new_graph()
    nodes = Nodes(graph.node)
    text, number = {"T": type_of("DT_STRING")}, {"T": type_of("DT_STRING"), "Tshape": type_of("DT_INT32")}
    x = nodes.add("Placeholder", name="x", dtype=type_of("DT_STRING"), shape=shape(None))
    name = nodes.add("Squeeze", x, **text)
    content = nodes.add("ReadFile", name)
    y = nodes.add("Reshape", content, nodes.constant("DT_INT32", [1]), **number)
    meta_graph = protos.MetaGraphDef(graph_def=graph)
    meta_graph.meta_info_def.tags.append("serve")
    signature = meta_graph.signature_def["serving_default"]
    for direction, node in ((signature.inputs["x"], x), (signature.outputs["y"], y)):
        direction.name, direction.dtype = f"{node}:0", protos.data_type_number("DT_STRING")
        direction.tensor_shape.CopyFrom(shape(None))
    target = folder / "1"
    target.mkdir(parents=True)
    (target / "saved_model.pb").write_bytes(protos.SavedModel(meta_graphs=[meta_graph]).SerializeToString())
    return folder
