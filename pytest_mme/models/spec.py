"""What a model of the kit must look like, who it says it is, and what it must answer. Imports nothing heavy."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from pytest_mme import versions
from pytest_mme.answers import Answer
from pytest_mme.archives.archive import MAX_VERSION
from pytest_mme.archives.code import Files, files_of
from pytest_mme.errors import shown

Kind = Literal["linear", "counter", "text", "keras"]

WRITER = 4  # goes into the digest: raise it whenever the same spec gives another SavedModel than before
DEFAULT_SIGNATURE = "serving_default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SIGNATURE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")  # becomes the prefix of its operations' names in the graph
_LIMITS = {"weights_mib": 1 << 20, "allocate_mib": 1 << 20, "busy_ms": 3_600_000, "sleep_ms": 3_600_000}
_MOST = 1000  # versions or signatures of one model
_GRAPH_ONLY = ("busy_ms", "sleep_ms", "allocate_mib")
_FLOAT32_MAX = (2 - 2**-23) * 2.0**127
_OP = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")  # names a file, too; TensorFlow also takes '_', '.' and '>'


@dataclasses.dataclass(frozen=True, kw_only=True)
class CustomOp:
    """An operation that TensorFlow does not have: it multiplies float32 numbers by a factor.

    A wrong field raises ValueError that names the field, what was seen and what is allowed.
    """

    name: str = "MmeScale"
    """What graphs call it: a capital letter, then letters and digits."""
    factor: float = 2.0
    """Rounded to float32. The library knows it, not the graph: two libraries may give one name to different factors."""

    def __post_init__(self) -> None:
        _matches("name", self.name, _OP, "a capital letter, then up to 63 letters or digits")
        seen = self.factor
        if isinstance(seen, bool) or not isinstance(seen, int | float) or not -_FLOAT32_MAX <= seen <= _FLOAT32_MAX:
            raise ValueError(f"factor: seen {shown(seen)}; allowed: a number that float32 can hold")
        object.__setattr__(self, "factor", _float32(seen))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What one model must look like; everything else about it follows from this.

    A wrong field raises ValueError that names the field, what was seen and what is allowed.
    """

    name: str
    """Names the archive, too: ``<name>.tar.gz``. Letters, digits, ``.``, ``_`` and ``-``."""
    kind: Kind = "linear"
    weights_mib: int = 0
    """MiB of variables that are resident once a version is loaded; TensorFlow's oneDNN allocator adds 4 %."""
    busy_ms: int = 0
    """Milliseconds that a call keeps one core busy, whatever its batch size."""
    sleep_ms: int = 0
    """Milliseconds that a call waits without using a CPU, whatever its batch size."""
    allocate_mib: int = 0
    """MiB that a call allocates, fills and holds while it is busy and sleeps.

    Freed before it answers; but with oneDNN on (the default) TensorFlow's allocator keeps them for the next call, so
    the process stays as large as it ever was.
    """
    versions: tuple[int, ...] = (1,)
    """The archive's version folders, ascending; servers serve the highest unless asked for another."""
    signatures: tuple[str, ...] = (DEFAULT_SIGNATURE,)
    custom_op: CustomOp | None = None
    """What a linear model does to its input first, by an op that TensorFlow only has once its library is loaded."""
    saved_by: str | None = None
    """The TensorFlow whose Python package really saves it, from 2.8 on, in an environment of its own.

    A version such as ``2.12.1``, or ``2.15``, ``latest`` or ``installed``, which mean the version that `--mme-tf` takes
    them for. By default linear, counter and text models are written without that package, and Keras models saved by the
    installed one.
    """
    handler: Files | Path | str = ()
    """The user's code that the archive brings along as ``code/inference.py``, which then answers the requests.

    The text of an `inference.py`, the path of one, or of a folder that holds one and whatever it imports.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "handler", _code(self.handler))
        object.__setattr__(self, "versions", _distinct("versions", self.versions, _version))
        object.__setattr__(self, "versions", tuple(sorted(self.versions)))
        object.__setattr__(self, "signatures", _distinct("signatures", self.signatures, _signature))
        check_name(self.name)
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind: seen {shown(self.kind)}; allowed: {', '.join(get_args(Kind))}")
        for field, most in _LIMITS.items():
            _whole_number(field, getattr(self, field), most)
        if self.kind == "keras":
            self._check_keras()
        if self.saved_by is not None:
            self._check_saved_by()
        if self.custom_op is not None and (self.kind != "linear" or not isinstance(self.custom_op, CustomOp)):
            seen = f"{shown(self.custom_op)} for a {self.kind} model"
            raise ValueError(f"custom_op: seen {seen}; allowed: a CustomOp for a linear model, or None")

    def _check_keras(self) -> None:
        for field in _GRAPH_ONLY:
            if seen := getattr(self, field):
                raise ValueError(f"{field}: seen {seen} for a Keras model; allowed: 0 (a linear model can do this)")
        if self.signatures != (DEFAULT_SIGNATURE,):
            raise ValueError(f"signatures: seen {self.signatures} for a Keras model; allowed: ('serving_default',)")

    def _check_saved_by(self) -> None:
        try:
            versions.check(self.saved_by)
        except ValueError as error:
            allowed = "a version of TensorFlow such as 2.15.1 or 2.15, installed, latest, or None"
            raise ValueError(f"saved_by: seen {shown(self.saved_by)}; allowed: {allowed}") from error
        for field in (*_GRAPH_ONLY, "custom_op"):
            if seen := getattr(self, field):
                none = getattr(type(self), field)
                raise ValueError(
                    f"{field}: seen {seen} with saved_by; allowed: {none} (the kit writes such a graph itself)"
                )

    @property
    def exported(self) -> bool:
        """Whether TensorFlow's Python package saves it."""
        return self.kind == "keras" or self.saved_by is not None

    @property
    def code(self) -> Files:
        """`handler`, as the files that it is."""
        assert isinstance(self.handler, tuple)
        return self.handler

    @cached_property
    def digest(self) -> str:
        """The model's content address, 64 hex digits: of this spec and of the writer's format, not of any file."""
        facts = {"writer": WRITER, **dataclasses.asdict(self)}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=bytes.hex).encode()).hexdigest()

    def identity(self, version: int, signature: str = DEFAULT_SIGNATURE) -> str:
        """Who answers: ``"<name>/<version>#<digest>"``, with ``":<signature>"`` before the digest unless it is the default."""
        part = "" if signature == DEFAULT_SIGNATURE else f":{signature}"
        return f"{self.name}/{version}{part}#{self.digest[:8]}"

    @property
    def example(self) -> Any:
        """One instance that the model takes."""
        return "x" if self.kind == "text" else [1.0]

    def line(self, version: int, signature: str = DEFAULT_SIGNATURE) -> tuple[float, float]:
        """Slope (1 to 128) and intercept (-64 to 64) of a linear model, both multiples of 1/256: exact in float32."""
        drawn = hashlib.sha256(f"{self.digest}/{version}/{signature}".encode()).digest()
        slope = 1 + int.from_bytes(drawn[:4], "big") % (127 * 256) / 256
        intercept = int.from_bytes(drawn[4:8], "big") % (128 * 256) / 256 - 64
        return slope, intercept

    def answer(
        self, x: Any, *, version: int | None = None, signature: str = DEFAULT_SIGNATURE, before: float = 0.0
    ) -> Answer:
        """The known answer to the instance *x*, by default of the highest version.

        *x* is a list of numbers (``linear``, ``counter``), a list of one number (``keras``) or a string (``text``).
        *before* is what a ``counter`` had counted before this call: nothing, when it is freshly loaded. Raises
        ValueError for a version, a signature or an instance that the model does not have or take.
        """
        version = self._known("versions", self.versions[-1] if version is None else version)
        signature = self._known("signatures", signature)
        if before and self.kind != "counter":
            raise ValueError(f"before: seen {before!r} for a {self.kind} model; only a counter remembers calls")
        value = self._value(_instance(self.kind, x), version, signature, before)
        return Answer(identity=self.identity(version, signature), value=value)

    def _value(self, x: Any, version: int, signature: str, before: float) -> Any:
        if self.kind == "text":
            return f"{self.identity(version, signature)}: {x}"
        if self.kind == "counter":
            return [before + sum(x)]
        slope, intercept = self.line(version, signature)
        factor = self.custom_op.factor if self.custom_op else 1.0
        scaled = (_float32(factor * _float32(number)) for number in x)
        return [_float32(_float32(slope * number) + intercept) for number in scaled]

    def _known(self, field: str, asked: Any) -> Any:
        if asked not in (has := getattr(self, field)):
            raise ValueError(f"{field}: model {self.name!r} has {has}, not {asked!r}")
        return asked


def check_name(name: str) -> None:
    """ValueError unless *name* is safe as a file name, as an S3 key and in the path of a URL."""
    _matches("name", name, _NAME, "a letter or digit, then up to 127 letters, digits, '.', '_' or '-'")


def _float32(value: float) -> float:
    return ctypes.c_float(value).value  # infinite beyond float32's range, as in the graph


def _instance(kind: Kind, x: Any) -> Any:
    """*x* as plain Python, or a ValueError that says what an instance of this kind is."""
    x = x.tolist() if hasattr(x, "tolist") else x
    if kind == "text":
        if isinstance(x, str):
            return x
        raise ValueError(f"x: seen {x!r}; an instance of a text model is a string")
    numbers = isinstance(x, list | tuple) and all(isinstance(number, int | float) for number in x)
    if numbers and (kind != "keras" or len(x) == 1):
        return x
    takes = "a list of one number" if kind == "keras" else "a list of numbers"
    raise ValueError(f"x: seen {x!r}; an instance of a {kind} model is {takes}, such as [1.0]")


def _distinct(field: str, seen: Any, check: Callable[[str, Any], None]) -> tuple[Any, ...]:
    if not isinstance(seen, Sequence) or isinstance(seen, str | bytes) or not 0 < len(seen) <= _MOST:
        raise ValueError(f"{field}: seen {shown(seen)}; allowed: a tuple of at least one, at most {_MOST}")
    for value in seen:
        check(field, value)
    if len(set(seen)) != len(seen):
        raise ValueError(f"{field}: seen {shown(seen)}; allowed: each only once")
    return tuple(seen)


def _code(seen: object) -> Files:
    if isinstance(seen, str | Path):
        return files_of(seen)
    if isinstance(seen, tuple) and all(map(_is_file, seen)):
        return seen
    allowed = "the text of an inference.py, the path of one or of a folder that holds one, or its files by name"
    raise ValueError(f"handler: seen {shown(seen)}; allowed: {allowed}")


def _is_file(seen: object) -> bool:
    match seen:
        case (str(name), bytes()):
            path = PurePosixPath(name)
            return path.parts != () and not path.is_absolute() and ".." not in path.parts
    return False


def _version(field: str, seen: object) -> None:
    _whole_number(field, seen, MAX_VERSION)


def _signature(field: str, seen: object) -> None:
    _matches(field, seen, _SIGNATURE, "a letter, then up to 63 letters, digits or '_'")


def _matches(field: str, seen: object, pattern: re.Pattern[str], allowed: str) -> None:
    if not isinstance(seen, str) or not pattern.fullmatch(seen):
        raise ValueError(f"{field}: seen {shown(seen)}; allowed: {allowed}")


def _whole_number(field: str, seen: object, most: int) -> None:
    if isinstance(seen, bool) or not isinstance(seen, int) or not 0 <= seen <= most:
        raise ValueError(f"{field}: seen {shown(seen)}; allowed: a whole number from 0 to {most}")
