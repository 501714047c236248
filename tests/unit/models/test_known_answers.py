"""What `mme_models.archive(answers=…)` knows of a model, from each source, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_mme import versions
from pytest_mme.answers import BY_DTYPE, FLOAT32, Tolerance
from pytest_mme.archives.archive import pack
from pytest_mme.archives.store import Store
from pytest_mme.errors import AnswersError, UnavailableError, UnknownAnswerError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.signatures import TensorSpec
from pytest_mme.models.asking import Round
from pytest_mme.models.builder import Model, Models
from pytest_mme.models.known_answers import KnownAnswers, Pair, Tolerances, read_pairs, write_pairs
from pytest_mme.models.sample_inputs import SAMPLES, NoRequestError, sample_instances
from tests.own_models import write_casts


class Recorder:
    """Plays a server with a model that answers by a function, in several rounds."""

    def __init__(self, *rounds: Any) -> None:
        """*rounds*: the function of each round; one plays three."""
        self.rounds = rounds if len(rounds) > 1 else rounds * 3
        self.asked: list[tuple[list[Any], Path | None, str]] = []

    def __call__(self, model: Model, inputs: Sequence[Any], *, code: Path | None, tf: str) -> list[Round]:
        self.asked.append(([*inputs], code, tf))
        return [Round("then", [answer(x) for x in inputs]) for answer in self.rounds]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(lambda x: [2.0 * x[0]])


@pytest.fixture
def asking(store: Store, recorder: Recorder) -> Models:
    return Models(store, recorder=recorder)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A SavedModel of float32."""
    return write_casts(tmp_path / "own", {"y": "DT_FLOAT"})


def jsonl(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_recorded_answers_are_asked_for_once_ever(asking: Models, recorder: Recorder, own: Path, store: Store) -> None:
    model = asking.archive(own, answers="recorded", inputs=[[1.0], [3.0]])
    assert model.answer([1.0]) == [2.0]
    assert model.answer([3.0]) == [6.0]
    assert model.examples == ([1.0], [3.0])
    again = Models(store, recorder=recorder).archive(own, "another", answers="recorded", inputs=[[1], [3]])
    assert again.answer([3]) == [6.0]
    assert recorder.asked == [([[1.0], [3.0]], None, versions.default())]


def test_they_are_asked_for_again_when_anything_differs(
    asking: Models, recorder: Recorder, own: Path, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    code.mkdir()

    def asked(**options: Any) -> int:
        asking.archive(own, answers="recorded", **options)
        return len(recorder.asked)

    assert asked() == asked() == 1
    assert asked(inputs=[[1.0]]) == asked(inputs=[[1.0]]) == 2
    assert asked(tf="2.15.1") == asked(tf="2.15.1") == 3
    for number, handler in enumerate(("1", "2"), 4):
        (code / "inference.py").write_text(handler)
        assert asked(code=code) == asked(code=code) == number
    file = code / "inference.py"
    assert asked(code=file, name="a") == asked(code=file, name="a") == 6
    assert asked(code=file, name="b") == 7, "it is told the name"
    write_casts(tmp_path / "other" / "1", {"y": "DT_DOUBLE"})
    own = tmp_path / "other"
    assert asked() == 8
    assert [(one[1], one[2]) for one in recorder.asked[2:5]] == [
        (None, "2.15.1"),
        (code, versions.default()),
        (code, versions.default()),
    ]


def test_by_default_different_inputs_are_made_from_the_signature(asking: Models, own: Path) -> None:
    xs = asking.archive(own, answers="recorded").examples
    assert len({*map(str, xs)}) == len(xs) == SAMPLES
    assert all(isinstance(x, list) and len(x) == 1 and 0 <= x[0] < 1 for x in xs)


@pytest.mark.parametrize(
    "rounds",
    [
        (lambda x: x, lambda x: [x[0] + 0.01], lambda x: x),
        (lambda x: x, lambda x: x, lambda x: [x[0] + 0.01]),
        (lambda _: 1, lambda _: 1, lambda _: 2),
    ],
    ids=["in the second round", "in the last round", "whole numbers"],
)
def test_a_model_that_does_not_answer_the_same_again_is_refused(store: Store, own: Path, rounds: Any) -> None:
    models = Models(store, recorder=(recorder := Recorder(*rounds)))
    for attempt in (1, 2):
        with pytest.raises(AnswersError, match=r"more than once for x = \[4.0\], it predicted .*, then ") as caught:
            models.archive(own, "mine", answers="recorded", inputs=[[4.0]])
        assert caught.value.model == "mine"
        assert len(recorder.asked) == attempt, "nothing of it is kept"


def test_what_differs_by_less_than_the_tolerance_is_the_same_answer(store: Store, own: Path) -> None:
    models = Models(store, recorder=Recorder(lambda _: 1.0, lambda _: 1.1))
    with pytest.raises(AnswersError):
        models.archive(own, answers="recorded", inputs=[[4.0]])
    assert models.archive(own, answers="recorded", inputs=[[4.0]], rtol=0.2).answer([4.0]) == 0.9


def test_a_builder_without_a_server_says_what_has_one(models: Models, own: Path) -> None:
    with pytest.raises(UnavailableError, match="answers='recorded' for own cannot be had here") as caught:
        models.archive(own, answers="recorded", inputs=[[1.0]])
    assert "mme_models" in caught.value.advice


def test_where_no_tensorflow_package_is_installed_python_says_so(
    models: Models, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise UnavailableError("the installed TensorFlow", "TensorFlow's Python package is not installed", "")

    monkeypatch.setattr(versions, "installed", none)
    with pytest.raises(UnavailableError, match="Python package is not installed") as caught:
        models.archive(own, answers="python")
    assert caught.value.asked == "answers='python' for own"
    assert "answers='recorded'" in caught.value.advice


def test_without_a_signature_inputs_must_be_given(asking: Models, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").touch()
    pack(tmp_path, tmp_path / "own.tar.gz")
    with pytest.raises(
        AnswersError, match="no inputs were given, and none can be made: it holds no SavedModel"
    ) as caught:
        asking.archive(tmp_path / "own.tar.gz", answers="recorded")
    assert "inputs=" in caught.value.advice
    assert asking.archive(tmp_path / "own.tar.gz", answers="recorded", inputs=[[1.0]]).answer([1]) == [2.0]


def spec(data_type: str, *shape: int | None) -> TensorSpec:
    return TensorSpec("x:0", protos.data_type_number(f"DT_{data_type}"), shape)


def test_samples_are_instances_of_the_inputs() -> None:
    assert sample_instances({"x": spec("INT64", None, 2)}, 99) == [[0, 0], [1, 1], [2, 2], [0, 0]]
    assert sample_instances({"x": spec("STRING", None)}, 99) == ["", "a", "ab", "abc"]
    assert sample_instances({"x": spec("BOOL", None)}, 99)[:2] == [False, True]
    several = sample_instances({"x": spec("HALF", None), "n": spec("INT32", 1, None)}, 99)
    assert several[0] == {"x": 0.0, "n": [0]}
    assert len({one["x"] for one in several}) == SAMPLES


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (spec("FLOAT"), "x is a scalar"),
        (spec("COMPLEX64", None), "complex64"),
        (spec("FLOAT", None, 1000), "more than a request can hold"),
    ],
)
def test_an_input_without_samples_is_refused_with_the_reason(given: TensorSpec, why: str) -> None:
    with pytest.raises(NoRequestError, match=why):
        sample_instances({"x": given}, 99)


def test_a_function_answers_for_every_instance(models: Models, own: Path) -> None:
    model = models.archive(own, answers=lambda x: {"y": np.array(x) * 2, "raw": b"\x00"})
    assert model.answer([1.5]) == {"y": [3.0], "raw": {"b64": "AA=="}}
    assert model.examples == ()
    assert models.archive(own, answers=lambda x: x, inputs=[[1.0], np.ones(2)]).examples == ([1.0], [1.0, 1.0])


def test_what_a_function_returns_must_be_json(models: Models, own: Path) -> None:
    with pytest.raises(AnswersError, match=r"for x = \[1.0\] it is \{1j\}: "):
        models.archive(own, answers=lambda _: {1j}).answer([1.0])


@pytest.mark.parametrize("as_path", [Path, str])
def test_a_file_has_an_answer_a_line(models: Models, own: Path, tmp_path: Path, as_path: Any) -> None:
    lines = jsonl(
        tmp_path / "answers.jsonl", '{"x": [1.0], "prediction": "a"}', "", '{"prediction": null, "x": {"n": 2}}'
    )
    model = models.archive(own, answers=as_path(lines))
    assert model.answer([1]) == "a"
    assert model.answer({"n": 2.0}) == None  # noqa: E711  an answer equals a prediction, and is none
    assert model.examples == ([1.0], {"n": 2})


@pytest.mark.parametrize(
    ("lines", "seen"),
    [
        (['{"x": 1, "prediction": 2}', "{x: 1}"], "line 2 of .*answers.jsonl is not JSON"),
        (['{"x": 1, "y": 2}'], "line 1 of .* has the keys 'x', 'y', not exactly 'x' and 'prediction'"),
        (['{"x": 1}'], "line 1 of .* has the keys 'x', not"),
        (['{"x": 1, "prediction": 2, "more": 3}'], "line 1 of .* has the keys"),
        (["", "[1, 2]"], r"line 2 of .* has \[1, 2\], not exactly"),
        (["{}"], "line 1 of .* has the keys none, not"),
        ([""], "holds no line"),
        (['{"x": [1], "prediction": 2}', '{"x": [1.0], "prediction": 3}'], r"line 2 .* x = \[1.0\] than line 1"),
    ],
)
def test_a_bad_line_is_named(models: Models, own: Path, tmp_path: Path, lines: list[str], seen: str) -> None:
    with pytest.raises(AnswersError, match=seen) as caught:
        models.archive(own, "mine", answers=jsonl(tmp_path / "answers.jsonl", *lines))
    assert caught.value.model == "mine"


@pytest.mark.parametrize("name", ["record", "", "none.jsonl", "folder", "binary"])
def test_what_is_neither_a_file_nor_a_way_to_ask_is_refused(
    models: Models, own: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(AnswersError, match="cannot be read") as caught:
        models.archive(own, answers=name)
    assert "answers='recorded'" in caught.value.advice


def test_the_same_line_twice_is_one_answer(tmp_path: Path) -> None:
    lines = jsonl(tmp_path / "answers.jsonl", *['{"x": [1], "prediction": NaN}'] * 2)
    ((x, prediction),) = read_pairs("mine", lines)
    assert x == [1]
    assert prediction != prediction  # NaN


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    pairs = [Pair([1.0], {"y": [1.5], "label": "ä"}), Pair("text", None)]
    write_pairs(pairs, tmp_path / "answers.jsonl")
    assert read_pairs("mine", tmp_path / "answers.jsonl") == pairs


def test_an_instance_without_an_answer_says_which_have_one(models: Models, own: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"x": [number], "prediction": number}) for number in range(7)]
    model = models.archive(own, "mine", answers=jsonl(tmp_path / "answers.jsonl", *lines))
    with pytest.raises(UnknownAnswerError) as caught:
        model.answer([9.0])
    assert "what 'mine' is expected to predict for x = [9.0]" in str(caught.value)
    assert "known are the predictions for [0], [1], [2], [3], [4] and 2 more" in str(caught.value)
    assert caught.value.known == ([0], [1], [2], [3], [4], [5], [6])
    assert model.answer([6]) == 6


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ({"version": 1}, "version 1, rather than the one that is served"),
        ({"signature": "other"}, "the signature other, rather than serving_default"),
        ({"before": 1.0}, "before=1: only the kit's counters"),
    ],
)
def test_answers_are_known_for_what_servers_serve_only(
    models: Models, own: Path, asked: dict[str, Any], seen: str
) -> None:
    model = models.archive(own, answers=lambda x: x)
    with pytest.raises(UnknownAnswerError, match=seen):
        model.answer([1.0], **asked)


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"inputs": [[1.0]]}, "inputs= has no effect with answers=None, which takes no option: give answers="),
        ({"rtol": 0.1}, "rtol= has no effect with answers=None"),
        ({"answers": "python", "code": "code"}, "code= has no effect with answers=python, which takes inputs=, tf="),
        ({"answers": "a.jsonl", "inputs": [[1.0]]}, "inputs= has no effect with answers=a file, which takes rtol="),
        ({"answers": str, "tf": "2.15.1"}, "tf= has no effect with answers=a function"),
        ({"answers": str, "rtol": -1}, "rtol=-1: give a number from 0"),
        ({"answers": str, "atol": float("nan")}, "atol=nan: give a number from 0"),
        ({"answers": str, "atol": "1"}, "atol='1': give a number from 0"),
        ({"answers": "recorded", "code": "nowhere"}, "code='nowhere': give a folder that holds an inference.py, or a"),
        ({"answers": "recorded", "code": "nowhere.py"}, "code='nowhere.py': give a folder"),
        ({"answers": "recorded", "inputs": []}, r"inputs=\[\]: give a list of instances"),
        ({"answers": "recorded", "inputs": "text"}, "inputs='text': give a list of instances"),
        ({"answers": "recorded", "inputs": [{1j}]}, r"inputs=\[\{1j\}\]: "),
        ({"answers": "recorded", "tf": "two"}, "'two' is not a version"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    asking: Models, own: Path, options: dict[str, Any], seen: str
) -> None:
    with pytest.raises(ValueError, match=seen):
        asking.archive(own, **options)


@pytest.mark.parametrize(
    ("outputs", "others", "each"),
    [
        ({"y": "DT_FLOAT"}, "float32", {}),
        ({"y": "DT_DOUBLE"}, "float64", {}),
        ({"y": "DT_HALF"}, "float16", {}),
        ({"y": "DT_BFLOAT16"}, "bfloat16", {}),
        ({"y": "DT_INT64"}, "float32", {}),
        ({"y": "DT_INT64", "z": "DT_DOUBLE"}, "float64", {}),
        ({"y": "DT_HALF", "z": "DT_DOUBLE", "n": "DT_INT32"}, "float16", {"y": "float16", "z": "float64"}),
    ],
)
def test_floats_may_differ_as_the_types_of_the_outputs_allow(
    models: Models, tmp_path: Path, outputs: dict[str, str], others: str, each: dict[str, str]
) -> None:
    model = models.archive(write_casts(tmp_path / "own", outputs), answers=lambda x: x)
    answer = model.answer([1.0])
    assert answer.tolerance == BY_DTYPE[others]
    assert answer.outputs == {name: BY_DTYPE[dtype] for name, dtype in each.items()}


def test_the_call_sets_the_tolerances(models: Models, own: Path, tmp_path: Path) -> None:
    def tolerance(path: Path = own, **given: Any) -> Tolerance:
        return models.archive(path, answers=lambda x: x, **given).answer([1.0]).tolerance

    assert tolerance(rtol=0.5, atol=0.25) == Tolerance(0.5, 0.25)
    assert tolerance(rtol=0) == Tolerance(0, FLOAT32.absolute)
    assert tolerance(atol=0.25) == Tolerance(FLOAT32.relative, 0.25)
    (tmp_path / "damaged.tar.gz").write_bytes(b"no archive")
    assert tolerance(tmp_path / "damaged.tar.gz") == FLOAT32


def test_a_forged_copy_keeps_the_answers_where_the_forgery_does_not_change_them(models: Models) -> None:
    own = models.archive(models.linear().archive, "own", answers=lambda _: [1.0])
    assert models.forge(own, "hidden-macos-files").answer([1.0]) == [1.0]
    for damaging in ("several-versions", "cut-pb"):
        with pytest.raises(UnknownAnswerError):
            models.forge(own, damaging).answer([1.0])


def test_a_bundled_copy_keeps_the_answers(models: Models, tmp_path: Path) -> None:
    (tmp_path / "op.so").touch()
    own = models.archive(models.linear().archive, "own", answers=lambda _: [1.0])
    bundled = models.bundled(dataclasses.replace(own, op_libraries=(tmp_path / "op.so",)))
    assert bundled.answer([1.0]) == [1.0]


@pytest.mark.parametrize(
    ("tolerance", "expected"),
    [
        (Tolerance(1e-7, 1e-7), (Tolerance(0.1, 1e-3), Tolerance(1e-7, 1e-7))),
        (Tolerance(0.5, 0.5), (Tolerance(0.5, 0.5), Tolerance(0.5, 0.5))),
    ],
)
def test_answers_of_an_optimised_copy_are_as_near_as_both_allow(
    tolerance: Tolerance, expected: tuple[Tolerance, Tolerance]
) -> None:
    known = KnownAnswers.of([Pair(1, 2)], Tolerances(Tolerance(0.1, 1e-3), {"z": BY_DTYPE["float64"]}))
    wider = known.at_least(tolerance)
    assert wider.xs == (1,)
    assert (wider.tolerances.others, wider.tolerances.outputs["z"]) == expected
    assert wider.answer("m", 1) == 2


def test_the_documentation_of_the_call_has_the_tolerances_of_each_type() -> None:
    described = " ".join((Models.archive.__doc__ or "").split()).replace(" and ", " ")
    for dtype, one in BY_DTYPE.items():
        relative, absolute = (f"{limit:.0e}".replace("e-0", "e-") for limit in (one.relative, one.absolute))
        assert f"{relative} {absolute} for {dtype}" in described


def test_the_types_of_the_outputs_are_read_again_when_the_archive_has_changed(models: Models, tmp_path: Path) -> None:
    for number, (data_type, dtype) in enumerate((("DT_FLOAT", "float32"), ("DT_DOUBLE", "float64"))):
        write_casts(tmp_path / str(number) / "1", {"y": data_type})
        pack(tmp_path / str(number), tmp_path / "own.tar.gz")
        model = models.archive(tmp_path / "own.tar.gz", answers=lambda x: x)
        assert model.answer([1.0]).tolerance == BY_DTYPE[dtype]
