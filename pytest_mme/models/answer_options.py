"""The options of `mme_models.archive` that say what a model is known to predict: which go together, and their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pytest_mme.archives.code import INFERENCE
from pytest_mme.errors import shown
from pytest_mme.models.json_values import plain
from pytest_mme.models.known_answers import AnswersFrom, Asked

_TAKEN = {
    "recorded": ("inputs", "code", "tf", "rtol", "atol"),
    "python": ("inputs", "tf", "rtol", "atol"),
    "a function": ("inputs", "rtol", "atol"),
    "a file": ("rtol", "atol"),
    "None": (),
}
"""The options that go with each kind of answers."""


def asked_of(answers: AnswersFrom) -> Asked | None:
    """Return how the model itself is to be asked; None when it is not."""
    return next((asked for asked in get_args(Asked) if isinstance(answers, str) and answers == asked), None)


def check_options(answers: AnswersFrom | None, options: Mapping[str, Any]) -> None:
    """Raise ValueError for an option that does not go with *answers*, or whose value it does not take."""
    given = {name: value for name, value in options.items() if value is not None}
    kind = _kind(answers)
    if unused := [name for name in given if name not in _TAKEN[kind]]:
        takes = ", ".join(f"{name}=" for name in _TAKEN[kind]) or "no option: give answers="
        raise ValueError(f"{unused[0]}= has no effect with answers={kind}, which takes {takes}")
    for name in ("rtol", "atol"):
        seen = given.get(name, 0)
        if isinstance(seen, bool) or not isinstance(seen, int | float) or not 0 <= seen < float("inf"):
            raise ValueError(f"{name}={seen!r}: give a number from 0")
    if "code" in given and not _is_code(Path(given["code"])):
        raise ValueError(
            f"code={str(given['code'])!r}: give a folder that holds an {INFERENCE}, or a Python file for mme_handler"
        )


def _is_code(path: Path) -> bool:
    return path.is_file() if path.suffix == ".py" else (path / INFERENCE).is_file()


def _kind(answers: AnswersFrom | None) -> str:
    if answers is None:
        return "None"
    return "a function" if callable(answers) else asked_of(answers) or "a file"


def instances(inputs: Sequence[Any]) -> list[Any]:
    """Return *inputs* in JSON's types; raises ValueError when they are not a list of some, or not JSON."""
    try:
        read = plain(inputs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"inputs={shown(inputs)}: {error}") from error
    if not isinstance(read, list) or not read:
        raise ValueError(f"inputs={shown(inputs)}: give a list of instances, as in [[1.0], [2.0]]")
    return read
