"""Forgeries with what really changed between TensorFlow's releases: every prediction uses an operation of a later one.

In a release with the operation the predictions stay as they were; in others there are none, or they differ. Which
release brought each is in the releases' own lists (`archives/op_registry.py`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from pytest_mme.archives.reachability import own_signatures
from pytest_mme.errors import ArchiveError
from pytest_mme.models.forging.forgery import Forgery, of_each_graph
from pytest_mme.models.writing.graph import Nodes, type_of

_FLOAT, _INT32, _INT64 = map(type_of, ("DT_FLOAT", "DT_INT32", "DT_INT64"))
_WEBP = base64.b64decode("UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAwA0JaQAA3AA/vuUAAA=")
"""One pixel."""

_SHUFFLED = 876
"""Where 8 rounds shuffle 7 of 1000 to (measured with 2.21; the 4 rounds of 2.9 and 2.10 give 530)."""

Add = Callable[[Nodes], str]
"""Appends nodes to a graph; the last is a float scalar, which is 0 where the release has the operation."""


def _predict_with(meta_graph: Any, *, add: Add) -> None:
    nodes = Nodes(meta_graph.graph_def.node, "mismatch_")
    zero = add(nodes)
    signatures = (meta_graph.signature_def[name] for name in own_signatures(meta_graph))
    outputs = [info for signature in signatures for info in signature.outputs.values() if info.dtype == _FLOAT.type]
    if not outputs:
        seen = "no signature has a DT_FLOAT tensor as its output"
        raise ArchiveError("no output to change", seen, "use a model that predicts floats")
    for info in outputs:
        info.name = f"{nodes.add('AddV2', info.name.removesuffix(':0'), zero, T=_FLOAT)}:0"


def _less(nodes: Nodes, number: str, expected: float, dtype: str) -> str:
    """Return how much more than *expected* a number of that type is, as a float."""
    given = number if dtype == "DT_FLOAT" else nodes.add("Cast", number, SrcT=type_of(dtype), DstT=_FLOAT)
    return nodes.add("Sub", given, nodes.constant("DT_FLOAT", expected), T=_FLOAT)


def _total(nodes: Nodes, numbers: str, dtype: str, axes: list[int]) -> str:
    return nodes.add("Sum", numbers, nodes.constant("DT_INT32", axes), T=type_of(dtype))


def _decode_webp(nodes: Nodes) -> str:
    pixels = nodes.add("DecodeWebP", nodes.constant("DT_STRING", _WEBP), channels=3, dtype=type_of("DT_UINT8"))
    shape = nodes.add("Shape", pixels, T=type_of("DT_UINT8"))
    return _less(nodes, _total(nodes, shape, "DT_INT32", [0]), 1 + 1 + 1 + 3, "DT_INT32")  # frames, height, …


def _fftnd(nodes: Nodes) -> str:
    values = nodes.add("Cast", nodes.constant("DT_FLOAT", [1.0, 2.0]), SrcT=_FLOAT, DstT=type_of("DT_COMPLEX64"))
    lengths, axes = nodes.constant("DT_INT32", [2]), nodes.constant("DT_INT32", [0])
    done = nodes.add("FFTND", values, lengths, axes, Tcomplex=type_of("DT_COMPLEX64"))
    return _less(nodes, _total(nodes, nodes.add("Real", done), "DT_FLOAT", [0]), 3.0 - 1.0, "DT_FLOAT")


def _top_k(nodes: Nodes) -> str:
    values, k = nodes.constant("DT_FLOAT", [1.0, 9.0, 5.0]), nodes.constant("DT_INT32", 1)
    best = nodes.add("TopKV2", values, k, T=_FLOAT, Tk=_INT32, index_type=_INT64)
    return _less(nodes, _total(nodes, f"{best}:1", "DT_INT64", [0]), 1, "DT_INT64")


def _gather_nd(nodes: Nodes) -> str:
    values, indices = nodes.constant("DT_FLOAT", [1.0, 2.0]), nodes.constant("DT_INT32", [5])
    types = {"Tparams": _FLOAT, "Tindices": _INT32}
    found = nodes.add("GatherNd", values, indices, bad_indices_policy=b"IGNORE", **types)
    return _less(nodes, found, 0.0, "DT_FLOAT")


def _ctc(nodes: Nodes) -> str:
    """Decode three steps of three classes: the second, the first, the third. Blank is the first, by default the last."""
    scores = nodes.constant("DT_FLOAT", [*(0.0, 1.0, 0.0), *(1.0, 0.0, 0.0), *(0.0, 0.0, 1.0)])
    inputs = nodes.add("Reshape", scores, nodes.constant("DT_INT32", [3, 1, 3]), T=_FLOAT)
    decoded = nodes.add("CTCGreedyDecoder", inputs, nodes.constant("DT_INT32", [3]), blank_index=0, T=_FLOAT)
    return _less(nodes, _total(nodes, f"{decoded}:1", "DT_INT64", [0]), 1 + 2, "DT_INT64")


def _shuffle(nodes: Nodes) -> str:
    seed = nodes.add("Cast", nodes.constant("DT_INT32", [1, 2, 3]), SrcT=_INT32, DstT=type_of("DT_UINT32"))
    index, most = nodes.constant("DT_INT32", 7), nodes.constant("DT_INT32", 1000)
    types = {"dtype": _INT32, "Tseed": type_of("DT_UINT32")}
    shuffled = nodes.add("RandomIndexShuffle", index, seed, most, rounds=8, **types)
    return _less(nodes, shuffled, _SHUFFLED, "DT_INT32")


FORGERIES = (
    Forgery(
        name="op-decode-webp",
        about="The model reads WebP images, `tf.image.decode_webp`, which came with 2.20.",
        change=of_each_graph(_predict_with, add=_decode_webp),
        keeps_answers=True,
    ),
    Forgery(
        name="kernel-fftnd",
        about="The model uses `tf.signal.fftnd`, which came with 2.15 and has no kernel for the CPU.",
        change=of_each_graph(_predict_with, add=_fftnd),
    ),
    Forgery(
        name="type-top-k-int64",
        about="The model asks `tf.math.top_k` for int64 indices, `index_type=`, which came with 2.13.",
        change=of_each_graph(_predict_with, add=_top_k),
        keeps_answers=True,
    ),
    Forgery(
        name="attribute-gather-nd",
        about="The model lets `tf.gather_nd` ignore bad indices, `bad_indices_policy=`, which came with 2.17.",
        change=of_each_graph(_predict_with, add=_gather_nd),
        keeps_answers=True,
    ),
    Forgery(
        name="drift-ctc-blank",
        about="The model decodes with `tf.nn.ctc_greedy_decoder(blank_index=0)`, which came with 2.6.",
        change=of_each_graph(_predict_with, add=_ctc),
        keeps_answers=True,
    ),
    Forgery(
        name="drift-shuffle-rounds",
        about="The model shuffles with `RandomIndexShuffle(rounds=8)`; the number of rounds came with 2.11.",
        change=of_each_graph(_predict_with, add=_shuffle),
        keeps_answers=True,
    ),
)
