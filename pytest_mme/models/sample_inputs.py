"""Inputs for a model that the kit did not build, made from its signature: what `answers="recorded"` asks by default."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_mme.archives.inspect import inspected
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.signatures import Signature, TensorSpec
from pytest_mme.models.spec import DEFAULT_SIGNATURE

SAMPLES = 4
"""How many instances are made of a signature."""
_REAL = {"DT_FLOAT", "DT_DOUBLE", "DT_HALF", "DT_BFLOAT16"}
_WHOLE = {f"DT_{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
_LEAST_BYTES = 2  # of a number in JSON: a digit and a comma
_STEPS = 256  # below 1, its multiples are exact in every type of floats


class NoRequestError(Exception):
    """There is no such request for a model; the message gives the reason."""


def default_signature(path: Path) -> Signature:
    """The signature ``serving_default`` of the highest version in the archive at *path*.

    Raises `NoRequestError`, and `ArchiveError` for a file that is not an archive.
    """
    with inspected(path) as archive:
        versions = archive.versions
        model = versions[max(versions)] if versions else None
        if model is None or model.served is None:
            raise NoRequestError("it holds no SavedModel that can be read")
        signature = model.signatures.get(DEFAULT_SIGNATURE)
    if signature is None:
        raise NoRequestError(f"it has no signature {DEFAULT_SIGNATURE}")
    return signature


def sample_instances(inputs: Mapping[str, TensorSpec], most_bytes: int) -> list[Any]:
    """Make `SAMPLES` different instances, in TensorFlow Serving's row format, of at most *most_bytes* each.

    Floats are from 0 to 1, whole numbers 0, 1 or 2, texts short words; the first one is all zeros and empty texts. A size
    that the signature leaves open counts as 1. Raises `NoRequestError` for an input without a first dimension, which rows
    need, or of a type that JSON has no form for.
    """
    return [_instance(inputs, number, most_bytes) for number in range(SAMPLES)]


def _instance(inputs: Mapping[str, TensorSpec], number: int, most_bytes: int) -> Any:
    values = {}
    for name, spec in inputs.items():
        if spec.shape == ():
            raise NoRequestError(f"its input {name} is a scalar, which cannot be asked for by instances")
        values[name] = sample_value(name, spec, shape_of(spec)[1:], most_bytes, number)
    return next(iter(values.values())) if len(values) == 1 else values


def shape_of(spec: TensorSpec) -> Sequence[int]:
    """The shape of a sample; an unknown size counts as 1, an unknown rank as one dimension."""
    return (1,) if spec.shape is None else tuple(1 if size is None else size for size in spec.shape)


def sample_value(name: str, spec: TensorSpec, shape: Sequence[int], most_bytes: int, number: int = 0) -> Any:
    """The sample of that *number*, of a *shape*: zeros and empty texts for 0; raises `NoRequestError`."""
    if math.prod(shape) * _LEAST_BYTES > most_bytes:
        raise NoRequestError(f"its input {name} of shape {tuple(shape)} is more than a request can hold")
    value = _element(name, spec, number)
    for size in reversed(shape):
        value = [value] * size
    return value


def _element(name: str, spec: TensorSpec, number: int) -> Any:
    dtype = protos.data_type_name(spec.data_type)
    if not spec.name:
        raise NoRequestError(f"its input {name} is not a plain tensor")
    if dtype == "DT_STRING":
        return {"b64": ""} if name.endswith("_bytes") else "abcd"[:number]
    if dtype == "DT_BOOL":
        return number % 2 == 1
    if dtype in _REAL:
        return number * 73 % _STEPS / _STEPS
    if dtype in _WHOLE:
        return number % 3
    raise NoRequestError(f"its input {name} is of {dtype.removeprefix('DT_').lower()}, which JSON has no form for")
