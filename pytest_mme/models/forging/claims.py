"""Forgeries of what a SavedModel declares: the versions that may read it, its tags, its signatures. Its nodes stay."""

from __future__ import annotations

from typing import Any

from pytest_mme.archives.reachability import own_signatures
from pytest_mme.errors import ArchiveError
from pytest_mme.models.forging.forgery import Forgery, of_each_graph

# Which versions may read a graph: tensorflow/core/framework/versions.proto, judged by `CheckVersions` of versions.cc.
# `TF_GRAPH_DEF_VERSION` of tensorflow/core/public/release_version.h counts days: 1395 in 2.12, 2474 in 2.21.
_FUTURE = 1_000_000
_EVERY_CONSUMER = range(1_000, 10_000)
_HUGE = (1 << 31) - 1
_ABSENT_TENSOR = "tensor_that_is_not_there:0"


def _declare(meta_graph: Any, **version: Any) -> None:
    """Set fields of the graph's `VersionDef`."""
    versions = meta_graph.graph_def.versions
    for field in version:
        versions.ClearField(field)
    versions.MergeFrom(type(versions)(**version))


def _declare_the_future(meta_graph: Any) -> None:
    meta_graph.meta_info_def.tensorflow_version = "99.0.0"
    meta_graph.meta_info_def.tensorflow_git_version = "v99.0.0"


def _change_the_tag(meta_graph: Any) -> None:
    tags = meta_graph.meta_info_def.tags
    tags[:] = sorted({"train", *tags} - {"serve"})


def _name_an_absent_tensor(meta_graph: Any) -> None:
    own = own_signatures(meta_graph)
    if not own:
        raise ArchiveError("no signature to forge", "the model has none", "use a model with a signature")
    for name in own:
        for info in meta_graph.signature_def[name].outputs.values():
            info.name = _ABSENT_TENSOR


def _drop_the_signatures(meta_graph: Any) -> None:
    for name in own_signatures(meta_graph):
        del meta_graph.signature_def[name]


FORGERIES = (
    Forgery(
        name="min-consumer-from-the-future",
        about="The graph asks for a later TensorFlow than there is, as one does that was saved by a version which "
        "changed what an old op means.",
        change=of_each_graph(_declare, min_consumer=_FUTURE),
    ),
    Forgery(
        name="bad-consumers",
        about="The graph disallows the versions that read it, as TensorFlow lets a producer do for those with a bug.",
        change=of_each_graph(_declare, bad_consumers=_EVERY_CONSUMER),
    ),
    Forgery(
        name="producer-negative",
        about="The graph states that version -1 of the format produced it: a tool wrote the field without knowing it.",
        change=of_each_graph(_declare, producer=-1),
    ),
    Forgery(
        name="producer-zero",
        about="The graph does not state which version of the format produced it: a tool left the field out.",
        change=of_each_graph(_declare, producer=0),
        keeps_answers=True,
    ),
    Forgery(
        name="producer-huge",
        about="The graph states that a version far in the future produced it, and asks for nothing: what a model of a "
        "later TensorFlow looks like to an older one.",
        change=of_each_graph(_declare, producer=_HUGE),
        keeps_answers=True,
    ),
    Forgery(
        name="tensorflow-version-from-the-future",
        about="The archive declares that TensorFlow 99.0.0 exported it: the exporter was updated, the container not.",
        change=of_each_graph(_declare_the_future),
        keeps_answers=True,
    ),
    Forgery(
        name="absent-tag",
        about="The model is tagged `train` instead of `serve`: exported by `tf.compat.v1` builders with other tags.",
        change=of_each_graph(_change_the_tag),
    ),
    Forgery(
        name="wrong-signature",
        about="Every signature answers with a tensor that the graph does not have: the graph was edited or optimised "
        "after it was exported.",
        change=of_each_graph(_name_an_absent_tensor),
    ),
    Forgery(
        name="missing-signature",
        about="The model has no signature: a `tf.Module` was saved without `signatures=`.",
        change=of_each_graph(_drop_the_signatures),
    ),
)
