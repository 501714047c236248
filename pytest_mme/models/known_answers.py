"""What a model that the kit did not build is known to predict: by a function, by a file, or by asking it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pytest_mme.answers import BY_DTYPE, FLOAT32, Answer, Tolerance
from pytest_mme.errors import AnswersError, ArchiveError, shown
from pytest_mme.models.json_values import plain, to_json

Asked = Literal["recorded", "python"]
Predict = Callable[[Any], Any]
"""Returns the prediction for an instance, in JSON's types, arrays or bytes."""
AnswersFrom = Asked | Predict | Path | str
"""Where the answers of a model come from; `Models.archive` describes them."""

_EXACT_WHOLE = 2.0**53


class Pair(NamedTuple):
    """An instance, and what the model predicts for it; both in JSON's types."""

    x: Any
    prediction: Any


class Tolerances(NamedTuple):
    """Of all numbers of a prediction but those of `outputs`, by the names of these."""

    others: Tolerance = FLOAT32
    outputs: Mapping[str, Tolerance] = {}


class NotKnownError(Exception):
    """No prediction is known for an instance."""


class KnownAnswers:
    """The predictions that are known of one model, for its signature ``serving_default``."""

    def __init__(self, predict: Predict, xs: Iterable[Any], tolerances: Tolerances) -> None:
        """*predict* raises `NotKnownError` where it knows none; *xs*: instances for which it knows one."""
        self.xs: Sequence[Any] = tuple(xs)
        self.tolerances = tolerances
        self._predict = predict

    @classmethod
    def of(cls, pairs: Iterable[Pair], tolerances: Tolerances) -> KnownAnswers:
        """What *pairs* say; ``[1]`` and ``[1.0]`` are the same instance."""
        table = {key_of(pair.x): pair for pair in pairs}

        def predict(x: Any) -> Any:
            try:
                return table[key_of(x)].prediction
            except KeyError:
                raise NotKnownError from None

        return cls(predict, (pair.x for pair in table.values()), tolerances)

    def answer(self, model: str, x: Any) -> Answer:
        """Return what *model* must predict for *x*; raises `NotKnownError`, and `AnswersError` for what is not JSON."""
        prediction = self._predict(x)
        try:
            value = plain(prediction)
        except (TypeError, ValueError) as error:
            seen = f"for x = {shown(x)} it is {shown(prediction)}: {error}"
            raise AnswersError(model, seen, "return what JSON can hold, as the model's replies do") from error
        return answer_of(model, value, self.tolerances)

    def at_least(self, tolerance: Tolerance) -> KnownAnswers:
        """The same answers, to be met no more exactly than by *tolerance*."""

        def wider(one: Tolerance) -> Tolerance:
            return Tolerance(max(one.relative, tolerance.relative), max(one.absolute, tolerance.absolute))

        outputs = {name: wider(one) for name, one in self.tolerances.outputs.items()}
        return KnownAnswers(self._predict, self.xs, Tolerances(wider(self.tolerances.others), outputs))


def answer_of(model: str, prediction: Any, tolerances: Tolerances) -> Answer:
    """Return the answer that equals *prediction*; its identity is the prediction's own, if it has one, or else *model*."""
    own = prediction.get("identity") if isinstance(prediction, Mapping) else None
    return Answer(
        identity=own if isinstance(own, str) else model,
        value=prediction,
        whole=True,
        tolerance=tolerances.others,
        outputs=tolerances.outputs,
    )


def key_of(x: Any) -> str:
    """Return what is the same for equal instances, in which 1 and 1.0 are one number. Raises TypeError for what is not JSON."""
    return json.dumps(_whole(plain(x)), sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < _EXACT_WHOLE:
        return int(value)
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return {name: _whole(one) for name, one in value.items()} if isinstance(value, dict) else value


def tolerances_of(archive: Path, relative: float | None, absolute: float | None) -> Tolerances:
    """Return the tolerances of an archive's outputs by their types, or *relative* and *absolute* where these are given.

    Numbers that belong to no output, such as those that a handler computes, have that of the widest output; an archive
    whose signature cannot be read, or that has no output of floats, counts as float32.
    """
    if relative is not None and absolute is not None:
        return Tolerances(Tolerance(relative, absolute))

    def chosen(dtype: str) -> Tolerance:
        known = BY_DTYPE[dtype]
        return Tolerance(
            known.relative if relative is None else relative, known.absolute if absolute is None else absolute
        )

    file = archive.stat()
    found = _output_dtypes(archive, file.st_mtime_ns, file.st_size)
    dtypes = {name: dtype for name, dtype in found.items() if dtype in BY_DTYPE}
    widest = max(dtypes.values(), key=[*BY_DTYPE].index, default="float32")
    outputs = {name: chosen(dtype) for name, dtype in dtypes.items()} if len(set(dtypes.values())) > 1 else {}
    return Tolerances(chosen(widest), outputs)


_DTYPES = {"DT_DOUBLE": "float64", "DT_FLOAT": "float32", "DT_HALF": "float16", "DT_BFLOAT16": "bfloat16"}


@lru_cache(maxsize=1024)  # it unpacks the archive, and many tests may use one
def _output_dtypes(archive: Path, _changed_ns: int, _size: int) -> Mapping[str, str]:
    """Return numpy's names of the types of the outputs of ``serving_default``, by output; nothing if it cannot be read."""
    from pytest_mme.libtensorflow import protos  # protobuf and numpy, which only this needs
    from pytest_mme.models.sample_inputs import NoRequestError, default_signature

    try:
        outputs = default_signature(archive).outputs
    except (ArchiveError, NoRequestError, OSError):
        return {}
    return {name: _DTYPES.get(protos.data_type_name(spec.data_type), "") for name, spec in outputs.items()}


def by_function(model: str, function: Predict) -> Predict:
    """Return *function* such that what it raises names the model and the instance: `AnswersError`."""

    def predict(x: Any) -> Any:
        try:
            return function(x)
        except Exception as error:
            seen = f"answers(x) raised {type(error).__name__}: {error}, for x = {shown(x)}"
            raise AnswersError(model, seen, "return the expected prediction for each x that tests send") from error

    return predict


def read_pairs(model: str, path: Path) -> list[Pair]:
    """Read a file of JSON lines, ``{"x": …, "prediction": …}``; raises `AnswersError` that names the line.

    Empty lines are skipped. An instance that occurs twice must have the same prediction.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AnswersError(model, f"{path} cannot be read: {error}", _NO_FILE) from error
    pairs: dict[str, tuple[int, Pair]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        pair = _pair(model, f"line {number} of {path}", line)
        before, known = pairs.setdefault(key_of(pair.x), (number, pair))
        if known.prediction != pair.prediction and to_json(known.prediction) != to_json(pair.prediction):
            seen = f"line {number} of {path} has another prediction for x = {shown(pair.x)} than line {before}"
            raise AnswersError(model, seen, "keep the right one of the two")
    if not pairs:
        raise AnswersError(model, f"{path} holds no line", _LINES)
    return [pair for _, pair in pairs.values()]


_LINES = 'write one JSON object a line: {"x": [1.0], "prediction": [3.5]}'
_NO_FILE = "give answers='recorded', answers='python', a function, or the path of a file of JSON lines"


def _pair(model: str, where: str, line: str) -> Pair:
    try:
        read = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise AnswersError(model, f"{where} is not JSON: {error}: {shown(line)}", _LINES) from error
    if not isinstance(read, dict) or set(read) != {"x", "prediction"}:
        has = f"the keys {', '.join(map(repr, read)) or 'none'}" if isinstance(read, dict) else f"{shown(read)}"
        raise AnswersError(model, f"{where} has {has}, not exactly 'x' and 'prediction'", _LINES)
    return Pair(read["x"], read["prediction"])


def write_pairs(pairs: Iterable[Pair], path: Path) -> None:
    """Write *pairs* as `read_pairs` reads them."""
    path.write_text("".join(f"{json.dumps(pair._asdict())}\n" for pair in pairs), encoding="utf-8")
