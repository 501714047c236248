"""What goes in comes out, bit for bit: every dtype that a signature can carry, every shape, every memory order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel
from pytest_mme.libtensorflow.tensors import numpy_dtype
from tests.unit.libtensorflow import graphs
from tests.unit.libtensorflow.conftest import Load
from tests.unit.libtensorflow.graphs import Graph, Tensor

NUMBERS = (
    *("DT_BOOL", "DT_INT8", "DT_INT16", "DT_INT32", "DT_INT64", "DT_UINT8", "DT_UINT16", "DT_UINT32", "DT_UINT64"),
    *("DT_HALF", "DT_BFLOAT16", "DT_FLOAT", "DT_DOUBLE", "DT_COMPLEX64", "DT_COMPLEX128"),
)
STRINGS = {
    "empty": b"",
    "longest kept inline": b"x" * 22,
    "shortest on the heap": b"x" * 23,
    "embedded and trailing NUL": b"a\0b\0",
    "not UTF-8": bytes(range(256)),
    "1 MB": b"0123456789abcdef" * 65536,
}


@pytest.fixture(scope="module")
def identities(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An identity model for each dtype, of unknown rank, loaded at its first use."""
    loaded: dict[str, SavedModel] = {}

    def identity(dtype: str) -> SavedModel:
        if dtype not in loaded:
            directory = graphs.identity(dtype).write(tmp_path_factory.mktemp(dtype))
            loaded[dtype] = SavedModel(library, directory)
        return loaded[dtype]

    yield identity
    for model in loaded.values():
        model.close()


def same_bits(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Whether dtype, shape and every bit agree, those of NaNs too."""
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def numpy_dtype_of(dtype: str) -> np.dtype[Any]:
    return numpy_dtype(protos.data_type_number(dtype))


def anything(dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """An array of arbitrary bits, hence also NaNs with payloads, infinities and subnormals; booleans are 0 or 1."""
    size = int(np.prod(shape)) * numpy_dtype_of(dtype).itemsize
    raw = np.random.default_rng(7).integers(0, 2 if dtype == "DT_BOOL" else 256, size, np.uint8)
    return raw.view(numpy_dtype_of(dtype)).reshape(shape)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (3, 0), (2, 3), (2, 1, 3, 1, 2)], ids=str)
@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers_come_back_bit_for_bit(identities: Any, dtype: str, shape: tuple[int, ...]) -> None:
    given_array = anything(dtype, shape)
    assert same_bits(identities(dtype).run({"x": given_array})["y"], given_array)


@pytest.mark.parametrize("string", STRINGS.values(), ids=STRINGS)
def test_strings_come_back_byte_for_byte(identities: Any, string: bytes) -> None:
    array = np.array([[string, b"between"], [string, string]], object)
    found = identities("DT_STRING").run({"x": array})["y"]
    assert found.dtype == object
    assert found.tolist() == array.tolist()


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)], ids=str)
def test_strings_of_any_shape(identities: Any, shape: tuple[int, ...]) -> None:
    array = np.full(shape, b"a string that does not fit inline", object)
    found = identities("DT_STRING").run({"x": array})["y"]
    assert (found.shape, found.tolist()) == (array.shape, array.tolist())


@pytest.mark.parametrize(
    "array",
    [np.array(["grün", "日本"]), np.array(["grün", "日本"], object), np.array(["grün".encode(), "日本".encode()], "S")],
    ids=["U", "object", "S"],
)
def test_text_is_sent_as_utf_8(identities: Any, array: npt.NDArray[Any]) -> None:
    assert identities("DT_STRING").run({"x": array})["y"].tolist() == ["grün".encode(), "日本".encode()]


@settings(deadline=None, max_examples=60)
@given(strings=st.lists(st.binary(max_size=64), max_size=20))
def test_any_strings_come_back(identities: Any, strings: list[bytes]) -> None:
    assert identities("DT_STRING").run({"x": np.array(strings, object)})["y"].tolist() == strings


@settings(deadline=None, max_examples=60)
@given(
    array=hnp.arrays(np.int16, hnp.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=4)),
    steps=st.sampled_from([1, 2, -1]),
    order=st.sampled_from("CF"),
)
def test_arrays_of_any_memory_order_come_back(identities: Any, array: npt.NDArray[Any], steps: int, order: Any) -> None:
    view = np.array(array, order=order)[tuple(slice(None, None, steps) for _ in array.shape)]
    assert same_bits(identities("DT_INT16").run({"x": view})["y"], view)


@pytest.mark.parametrize(
    "view",
    [
        np.arange(24, dtype=np.float32).reshape(4, 6)[::2, 1::3],
        np.arange(24, dtype=np.float32).reshape(4, 6).T,
        np.arange(24, dtype=np.float32)[::-1],
        np.broadcast_to(np.float32(3), (4, 2)),
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3)),
        np.frombuffer(b"\0" + np.arange(5, dtype=np.float32).tobytes(), np.uint8)[1:].view(np.float32),
    ],
    ids=["slice", "transposed", "reversed", "broadcast", "big-endian", "big-endian, Fortran", "unaligned"],
)
def test_arrays_of_other_layouts_have_the_same_values(identities: Any, view: npt.NDArray[Any]) -> None:
    found = identities("DT_FLOAT").run({"x": view})["y"]
    assert same_bits(found, np.array(view, "=f4", order="C"))


def test_strings_in_another_memory_order_come_back(identities: Any) -> None:
    array = np.array([[b"a", b"b", b"c"], [b"d", b"e", b"f"]], object)
    for view in (array.T, array[:, ::-1], np.asfortranarray(array)):
        assert identities("DT_STRING").run({"x": view})["y"].tolist() == view.tolist()


def test_a_result_can_be_changed_by_its_caller(identities: Any) -> None:
    array = np.arange(4, dtype=np.float32)
    first = identities("DT_FLOAT").run({"x": array})["y"]
    first += 1
    assert first.flags.owndata
    assert identities("DT_FLOAT").run({"x": array})["y"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("shape", [None, (), (None, 2), (2, 1, 3, 1, 2)], ids=str)
def test_tensorflow_does_not_enforce_the_shape_of_a_signature(load: Load, shape: graphs.Shape) -> None:
    model = load(graphs.identity("DT_FLOAT", shape))
    assert model.signatures["serving_default"].inputs["x"].shape == (None if shape is None else tuple(shape))
    for given_shape in ((), (0, 2), (2, 1, 3, 1, 2), (1, 3)):
        assert model.run({"x": np.ones(given_shape, np.float32)})["y"].shape == given_shape


def test_an_operation_refuses_a_shape_that_it_cannot_take(load: Load) -> None:
    graph = Graph()
    graph.placeholder("a", shape=(None, 2))
    graph.node("MatMul", "y", "a", "a", T="DT_FLOAT")
    graph.sign({"a": Tensor("a:0", shape=(None, 2))}, {"y": Tensor("y:0", shape=(None, 2))})
    with pytest.raises(TensorFlowError, match="Matrix size-incompatible") as caught:
        load(graph).run({"a": np.ones((3, 2), np.float32)})
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_big_array_comes_back(load: Load) -> None:
    array = np.random.default_rng(1).random((1024, 1024), np.float32)
    assert same_bits(load(graphs.identity()).run({"x": array})["y"], array)


def test_strings_around_the_size_of_a_small_string_come_back(load: Load) -> None:
    model = load(graphs.identity("DT_STRING"))
    strings = np.array([b"x" * size for size in (0, 1, 21, 22, 23, 24, 1000)] + [b"\0" * 22, b"\xff" * 23], object)
    assert model.run({"x": strings})["y"].tolist() == strings.tolist()
