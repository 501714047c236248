"""Which operations each release has: held against the installed TensorFlow, which is one of them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pytest_mme import versions
from pytest_mme.archives.op_registry import registry
from tests.unit.models.conftest import ROOT


def test_the_registry_agrees_with_the_installed_release() -> None:
    """Made again after an update of TensorFlow: tools/make_op_registry.py."""
    from pytest_mme.libtensorflow.capi import installed_directory

    tool = str(ROOT / "tools" / "make_op_registry.py")
    done = subprocess.run(
        [sys.executable, tool, "--look", str(installed_directory())], capture_output=True, text=True, check=True
    )
    reported, installed, known = json.loads(done.stdout), versions.installed(), registry()
    assert known.graph_def(installed) == reported["graph_def"]
    reported_ops, on_cpu = reported["ops"], set(reported["on_cpu"])
    assert len(reported_ops) > 1000
    assert [op for op in reported_ops if not known.has(op, installed)] == []
    assert [op for op in known._ops if known.has(op, installed) and op not in reported_ops] == []
    assert {op for op in reported_ops if known.runs_on_cpu(op, installed)} == on_cpu & set(reported_ops)
    attributes = [(op, name, described) for op, named in reported_ops.items() for name, described in named.items()]
    assert [(op, name) for op, name, _ in attributes if not known.has_attribute(op, name, installed)] == []
    types = [(op, name, data_type) for op, name, described in attributes for data_type in described["types"]]
    assert len(types) > 1000
    assert [one for one in types if not known.takes(*one, installed)] == []


def test_the_registry_knows_when_operations_were_added_and_removed() -> None:
    known = registry()
    assert known.span("DecodeWebP") == ("2.20.0", known.releases[-1])
    assert not known.has("DecodeWebP", "2.19.1")
    assert known.has("DecodeWebP", "2.20.0")
    assert known.span("NoSuchOp") is None
    assert not known.has("NoSuchOp", "2.20.0")


def test_the_registry_knows_when_attributes_were_added() -> None:
    known = registry()
    assert known.attribute_since("GatherNd", "bad_indices_policy") == "2.17.1"
    assert not known.has_attribute("GatherNd", "bad_indices_policy", "2.16.2")
    assert known.attribute_since("GatherNd", "no_such") is None
    assert known.default("GatherNd", "bad_indices_policy") is not None
    assert known.default("GatherNd", "Tparams") is None


def test_a_patch_release_counts_as_the_last_of_its_minor_version() -> None:
    assert registry().graph_def("2.15.0") == registry().graph_def("2.15.1") == 1645


@pytest.mark.parametrize("version", ["2.4.4", "1.15", "9.1.0", "nightly"])
def test_an_unknown_version_is_refused(version: str) -> None:
    for ask in (registry().graph_def, registry().serving):
        with pytest.raises(ValueError, match=f"nothing is known of TensorFlow {version}"):
            ask(version)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("2.15.1", "2.15.1"), ("2.15", "2.15"), ("latest", registry().releases[-1]), ("installed", versions.installed())],
)
def test_requested_versions_are_resolved(asked: str, meant: str) -> None:
    assert registry().serving(asked) == meant
