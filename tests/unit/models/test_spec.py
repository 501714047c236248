"""A specification is right or refused; its digest, identities and lines follow from it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mme.models.spec import CustomOp, ModelSpec
from tests.unit.models.conftest import InProcess

NOT_FILES: list[Any] = ["code/inference.py", 7, None, b"def handler", [], {}, ("inference.py",), (("a", "text"),)]
WRONG: list[dict[str, Any]] = [
    *[{"name": name} for name in ("", ".hidden", "a/b", "../a", "a b", "a\n", "ä", "a" * 129, "a" * 100_000, None, 7)],
    *[{"kind": kind} for kind in ("", "Linear", None)],
    *[
        {field: value}
        for field in ("weights_mib", "busy_ms", "sleep_ms", "allocate_mib")
        for value in (-1, 1.5, True, "1", None, 1 << 40)
    ],
    *[{"versions": versions} for versions in ((), 1, "1", (1, 1), (-1,), (True,), ("1",), (1 << 63,), range(1001))],
    *[{"signatures": names} for names in ((), "serving_default", ("a", "a"), ("",), ("a-b",), ("__init",), (1,))],
    *[{"kind": "keras", field: 1} for field in ("busy_ms", "sleep_ms", "allocate_mib")],
    {"kind": "keras", "signatures": ("other",)},
    *[{"custom_op": op} for op in ("MmeScale", 2.0, 0, "")],
    *[{"kind": kind, "custom_op": CustomOp()} for kind in ("counter", "text", "keras")],
    *[{"saved_by": version} for version in ("", "2", "2.4", "3.x", "newest", "2.15.1 ", "2" * 100_000, 2.15, (2, 15))],
    *[{"saved_by": "2.15.1", field: 1} for field in ("busy_ms", "sleep_ms", "allocate_mib")],
    {"saved_by": "2.15.1", "custom_op": CustomOp()},
    *[{"handler": files} for files in NOT_FILES],
    *[{"handler": ((name, b""),)} for name in ("", "/a", "../a", "a/../../a")],
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: str(wrong)[:40])
def test_a_wrong_field_is_named_with_what_was_seen_and_what_it_takes(wrong: dict[str, Any]) -> None:
    field = [*wrong][-1]
    with pytest.raises(ValueError, match=rf"(?s)^{field}=.*: give .+|^{field}=.*: choose .+") as refused:
        ModelSpec(**{"name": "m", **wrong})
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "wrong",
    [
        *[{"name": name} for name in ("", "lower", "Under_score", "A" * 65, "A B", "A\n", "Ä", None, 7)],
        *[{"factor": factor} for factor in (True, "2", None, float("nan"), float("inf"), 4e38, 10**400)],
    ],
    ids=lambda wrong: str(wrong)[:40],
)
def test_a_wrong_field_of_an_op_is_named_with_what_it_takes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"(?s)^{next(iter(wrong))}=.*: give .+") as refused:
        CustomOp(**wrong)
    assert len(str(refused.value)) < 500


def test_the_factor_of_an_op_is_rounded_to_float32() -> None:
    assert CustomOp(factor=0.1).factor == float(np.float32(0.1)) != 0.1
    slope, intercept = map(np.float32, ModelSpec(name="m", custom_op=CustomOp(factor=0.1)).line(1))
    answer = ModelSpec(name="m", custom_op=CustomOp(factor=0.1)).answer([3.7])
    assert answer.value == [float(slope * (np.float32(0.1) * np.float32(3.7)) + intercept)]


def test_lists_become_tuples_and_versions_are_sorted() -> None:
    spec = ModelSpec(name="m", versions=[3, 1], signatures=["b", "a"])  # type: ignore[arg-type]  # a user's slip
    assert (spec.versions, spec.signatures) == ((1, 3), ("b", "a"))
    assert spec == ModelSpec(name="m", versions=(1, 3), signatures=("b", "a"))
    assert hash(spec) == hash(ModelSpec(name="m", versions=(1, 3), signatures=("b", "a")))


def test_every_field_counts_in_the_digest() -> None:
    spec = ModelSpec(name="m")
    others: list[dict[str, Any]] = [
        *({"name": "n"}, {"kind": "text"}, {"weights_mib": 1}, {"busy_ms": 1}, {"sleep_ms": 1}, {"allocate_mib": 1}),
        *({"versions": (2,)}, {"signatures": ("other",)}, {"handler": "text"}, {"custom_op": CustomOp()}),
        {"saved_by": "2.15.1"},
    ]
    assert {name for other in others for name in other} == {field.name for field in dataclasses.fields(spec)}
    digests = {dataclasses.replace(spec, **other).digest for other in others}
    assert len(digests | {spec.digest}) == len(others) + 1


def test_an_identity_has_the_name_the_version_and_the_digest() -> None:
    spec = ModelSpec(name="model-0", signatures=("serving_default", "other"))
    assert spec.identity(1) == f"model-0/1#{spec.digest[:8]}"
    assert spec.identity(2, "other") == f"model-0/2:other#{spec.digest[:8]}"


@given(st.integers(0, 1 << 60), st.sampled_from(["serving_default", "other"]))
def test_a_line_is_exact_in_float32(version: int, signature: str) -> None:
    slope, intercept = ModelSpec(name="m").line(version, signature)
    assert 1 <= slope < 128
    assert -64 <= intercept < 64
    assert (float(np.float32(slope)), float(np.float32(intercept))) == (slope, intercept)


def test_lines_differ_between_models_versions_and_signatures() -> None:
    lines = [ModelSpec(name=f"m{number}").line(version) for number in range(50) for version in range(50)]
    assert len(set(lines)) == len(lines)


@given(st.lists(st.floats(width=32), min_size=1, max_size=5))
def test_a_linear_answer_is_computed_in_float32(x: list[float]) -> None:
    spec = ModelSpec(name="m")
    slope, intercept = map(np.float32, spec.line(1))
    with np.errstate(all="ignore"):
        y = (slope * np.array(x, np.float32) + intercept).tolist()
    assert spec.answer(x) == {"identity": spec.identity(1), "y": y}
    assert spec.answer(tuple(x)) == spec.answer(np.array(x, np.float32)) == spec.answer(x)


def test_the_highest_version_answers_by_default() -> None:
    spec = ModelSpec(name="m", versions=(0, 2))
    assert spec.answer([1.0]) == spec.answer([1.0], version=2)
    assert spec.answer([1.0]) != spec.answer([1.0], version=0)


@pytest.mark.parametrize(
    ("kind", "x", "keywords", "message"),
    [
        ("linear", [1.0], {"version": 2}, r"versions: model 'm' has \(1,\), not 2"),
        ("linear", [1.0], {"signature": "x"}, r"signatures: model 'm' has \('serving_default',\), not 'x'"),
        ("linear", [1.0], {"before": 1}, "before: seen 1 for a linear model"),
        ("linear", 1.0, {}, r"x: seen 1.0; an instance of a linear model is a list of numbers"),
        ("counter", [[1.0]], {}, r"x: seen \[\[1.0\]\]; an instance of a counter model is a list of numbers"),
        ("keras", [1.0, 2.0], {}, r"x: seen .*; an instance of a keras model is a list of one number"),
        ("text", ["a"], {}, r"x: seen \['a'\]; an instance of a text model is a string"),
    ],
)
def test_an_instance_that_the_model_cannot_take_is_refused(
    kind: Any, x: Any, keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ModelSpec(name="m", kind=kind).answer(x, **keywords)


def test_importing_the_builder_loads_nothing_heavy(in_process: InProcess) -> None:
    script = "import sys, pytest_mme.models.builder as _, pytest_mme.models.spec as _; print(*sorted(sys.modules))"
    loaded = set(in_process("-c", script).split())
    assert not loaded & {"numpy", "tensorflow", "keras", "google.protobuf", "pytest", "moto", "docker"}
