"""What a model of the kit must look like, its identity, and the predictions it must make. Imports nothing heavy."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypedDict, get_args

from pytest_mme.answers import Answer
from pytest_mme.archives.archive import MAX_VERSION
from pytest_mme.archives.code import Files, files_of
from pytest_mme.validation import Metadata, check, number, one_of, refusal, rule, tensorflow_version, text, whole

Kind = Literal["linear", "counter", "text", "keras"]

WRITER = 4  # goes into the digest: raise it whenever the same spec gives another SavedModel than before
DEFAULT_SIGNATURE = "serving_default"

_GIBI = 1 << 20  # in MiB
_HOUR_MS = 3_600_000
_MOST = 1000  # versions or signatures of one model
_GRAPH_ONLY = ("busy_ms", "sleep_ms", "allocate_mib")
_FLOAT32_MAX = (2 - 2**-23) * 2.0**127
MODEL_NAME = text(
    "a letter or digit, then up to 127 letters, digits, '.', '_' or '-'", r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
)
"""Safe as a file name, as an S3 key and in the path of a URL."""
_OP = text("a capital letter, then up to 63 letters or digits", r"[A-Z][A-Za-z0-9]{0,63}")  # names a file, too
_SIGNATURE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")  # becomes the prefix of its operations' names in the graph


def _up_to(most: int) -> Metadata:
    return whole(f"0 to {most}", 0, most)


def _are_distinct(seen: Any) -> bool:
    if not isinstance(seen, Sequence) or isinstance(seen, str | bytes) or not 0 < len(seen) <= _MOST:
        return False
    return len({*map(repr, seen)}) == len(seen)


def _are_files(seen: Any) -> bool:
    return isinstance(seen, str | Path) or (isinstance(seen, tuple) and all(map(_is_file, seen)))


def _is_file(seen: object) -> bool:
    match seen:
        case (str(name), bytes()):
            path = PurePosixPath(name)
            return path.parts != () and not path.is_absolute() and ".." not in path.parts
    return False


@dataclass(frozen=True, kw_only=True)
class CustomOp:
    """An operation that TensorFlow does not have: it multiplies float32 numbers by a factor.

    A wrong field raises ValueError that names the field, what was seen and what it takes.
    """

    name: str = field(default="MmeScale", metadata=_OP)
    """What graphs call it: a capital letter, then letters and digits."""
    factor: float = field(default=2.0, metadata=number("a number that float32 can hold", -_FLOAT32_MAX, _FLOAT32_MAX))
    """Rounded to float32. The library knows it, not the graph: two libraries may give one name to different factors."""

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "factor", _float32(self.factor))


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What one model must look like; everything else about it follows from this.

    A wrong field raises ValueError that names the field, what was seen and what it takes.
    """

    name: str = field(metadata=MODEL_NAME)
    """Names the archive, too: ``<name>.tar.gz``."""
    kind: Kind = field(default="linear", metadata=one_of(*get_args(Kind)))
    """What it computes: the methods of `mme_models` that are called after the kinds describe them."""
    weights_mib: int = field(default=0, metadata=_up_to(_GIBI))
    """MiB of variables that are resident once a version is loaded; TensorFlow's oneDNN allocator adds 4 %."""
    busy_ms: int = field(default=0, metadata=_up_to(_HOUR_MS))
    """Milliseconds that a call keeps one core busy, whatever its batch size."""
    sleep_ms: int = field(default=0, metadata=_up_to(_HOUR_MS))
    """Milliseconds that a call waits without using a CPU, whatever its batch size."""
    allocate_mib: int = field(default=0, metadata=_up_to(_GIBI))
    """MiB that a call allocates, fills and holds while it is busy and sleeps.

    Freed before it answers; but with oneDNN on (the default) TensorFlow's allocator keeps them for the next call, so
    the process stays as large as it ever was.
    """
    versions: tuple[int, ...] = field(
        default=(1,),
        metadata=rule(
            f"whole numbers from 0, each once, one to {_MOST} of them",
            lambda seen: _are_distinct(seen) and all(type(one) is int and 0 <= one <= MAX_VERSION for one in seen),
        ),
    )
    """The archive's version folders, ascending; servers serve the highest unless asked for another."""
    signatures: tuple[str, ...] = field(
        default=(DEFAULT_SIGNATURE,),
        metadata=rule(
            f"names, each once, one to {_MOST} of them: a letter, then up to 63 letters, digits or '_'",
            lambda seen: (
                _are_distinct(seen) and all(isinstance(one, str) and _SIGNATURE.fullmatch(one) for one in seen)
            ),
        ),
    )
    """The names of its signatures; each predicts something else."""
    custom_op: CustomOp | None = None
    """What a linear model does to its input first, by an op that TensorFlow only has once its library is loaded."""
    saved_by: str | None = field(default=None, metadata=tensorflow_version())
    """The TensorFlow version whose Python package really saves it, from 2.8 on, in an environment of its own.

    A version such as ``2.12.1``, or ``2.15``, ``latest`` or ``installed``, which mean the version that `--mme-tf` takes
    them for. By default linear, counter and text models are written without that package, and Keras models saved by the
    installed one.
    """
    handler: Files | Path | str = field(
        default=(),
        metadata=rule(
            "the text of an inference.py, the path of one or of a folder that holds one, or its files by name",
            _are_files,
        ),
    )
    """The user's code that the archive brings along as ``code/inference.py``, which then answers the requests.

    The text of an `inference.py`, the path of one, or of a folder that holds one and whatever it imports.
    """

    def __post_init__(self) -> None:
        check(self)
        if not isinstance(self.handler, tuple):
            object.__setattr__(self, "handler", files_of(self.handler))
        object.__setattr__(self, "versions", tuple(sorted(self.versions)))
        object.__setattr__(self, "signatures", tuple(self.signatures))
        if self.kind == "keras":
            self._refuse("of a Keras model", *_GRAPH_ONLY, "signatures")
        if self.saved_by is not None:
            self._refuse("with saved_by", *_GRAPH_ONLY, "custom_op")
        if self.custom_op is not None and (self.kind != "linear" or not isinstance(self.custom_op, CustomOp)):
            raise refusal("custom_op", self.custom_op, f"a CustomOp for a linear model, None for a {self.kind} model")

    def _refuse(self, where: str, *names: str) -> None:
        """Raise ValueError for the first of these fields that is not as it is by default."""
        defaults = {one.name: one.default for one in dataclasses.fields(self)}
        for name in names:
            if (seen := getattr(self, name)) != defaults[name]:
                raise refusal(name, seen, f"{defaults[name]!r} {where}; a linear model that the kit writes can have it")

    @property
    def exported(self) -> bool:
        """Whether TensorFlow's Python package saves it."""
        return self.kind == "keras" or self.saved_by is not None

    @property
    def code(self) -> Files:
        """The files of `handler`."""
        assert isinstance(self.handler, tuple)
        return self.handler

    @cached_property
    def digest(self) -> str:
        """The model's content address, 64 hex digits: of this spec and of the writer's format, not of any file."""
        facts = {"writer": WRITER, **dataclasses.asdict(self)}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=bytes.hex).encode()).hexdigest()

    def identity(self, version: int, signature: str = DEFAULT_SIGNATURE) -> str:
        """Return what names the prediction of a version: ``"<name>/<version>#<digest>"``, with ``":<signature>"`` before the digest unless default."""
        part = "" if signature == DEFAULT_SIGNATURE else f":{signature}"
        return f"{self.name}/{version}{part}#{self.digest[:8]}"

    @property
    def example(self) -> Any:
        """One instance that the model takes."""
        return "x" if self.kind == "text" else [1.0]

    def line(self, version: int, signature: str = DEFAULT_SIGNATURE) -> tuple[float, float]:
        """Return the slope (1 to 128) and intercept (-64 to 64) of a linear model, both multiples of 1/256: exact in float32."""
        drawn = hashlib.sha256(f"{self.digest}/{version}/{signature}".encode()).digest()
        slope = 1 + int.from_bytes(drawn[:4], "big") % (127 * 256) / 256
        intercept = int.from_bytes(drawn[4:8], "big") % (128 * 256) / 256 - 64
        return slope, intercept

    def answer(
        self, x: Any, *, version: int | None = None, signature: str = DEFAULT_SIGNATURE, before: float = 0.0
    ) -> Answer:
        """Return the prediction that is expected for the instance *x*, by default of the highest version.

        *x* is a list of numbers (``linear``, ``counter``), a list of one number (``keras``) or a string (``text``).
        *before* is what a ``counter`` had counted before this call: nothing, when it is freshly loaded. Raises
        ValueError for a version, a signature or an instance that the model does not have or take.
        """
        version = self._known("versions", self.versions[-1] if version is None else version)
        signature = self._known("signatures", signature)
        if before and self.kind != "counter":
            raise ValueError(f"before: seen {before!r} for a {self.kind} model; only a counter remembers calls")
        x, identity = _instance(self.kind, x), self.identity(version, signature)
        if self.kind == "text":
            return Answer(identity=identity, value=f"{identity}: {x}")
        if self.kind == "counter":
            return Answer(identity=identity, value=[before + sum(x)])
        slope, intercept = self.line(version, signature)
        factor = self.custom_op.factor if self.custom_op else 1.0
        scaled = (_float32(factor * _float32(number)) for number in x)
        value = [_float32(_float32(slope * number) + intercept) for number in scaled]
        return Answer(identity=identity, value=value)

    def _known(self, field: str, asked: Any) -> Any:
        if asked not in (has := getattr(self, field)):
            raise ValueError(f"{field}: model {self.name!r} has {has}, not {asked!r}")
        return asked


class ModelFields(TypedDict, total=False):
    """The keyword arguments of `mme_models.linear` and its like: fields of `ModelSpec`, which describes them."""

    weights_mib: int
    busy_ms: int
    sleep_ms: int
    allocate_mib: int
    versions: tuple[int, ...]
    signatures: tuple[str, ...]
    saved_by: str | None
    handler: Files | Path | str


def _float32(value: float) -> float:
    return ctypes.c_float(value).value  # infinite beyond float32's range, as in the graph


def _instance(kind: Kind, x: Any) -> Any:
    """Return *x* as plain Python; raises ValueError when it is not an instance of this kind."""
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
