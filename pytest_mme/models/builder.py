"""The builder of models: archives whose expected predictions are known."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mme import versions as tensorflow_versions
from pytest_mme.answers import Answer, Tolerance
from pytest_mme.archives.archive import extract, is_saved_model, pack, versions
from pytest_mme.archives.code import OP_LIBRARIES, code_in, write_code
from pytest_mme.archives.store import Store, sha256
from pytest_mme.errors import ArchiveError, UnknownAnswerError, shown
from pytest_mme.models.answer_options import asked_of, check_options, instances
from pytest_mme.models.asking import Answerers, Question, Recorder
from pytest_mme.models.exporting.environments import Exporter, Exporters
from pytest_mme.models.exporting.optimise import OPTIMISER, optimise
from pytest_mme.models.exporting.process import TensorFlowProcess
from pytest_mme.models.json_values import plain
from pytest_mme.models.known_answers import (
    AnswersFrom,
    KnownAnswers,
    NotKnownError,
    by_function,
    read_pairs,
    tolerances_of,
)
from pytest_mme.models.spec import DEFAULT_SIGNATURE, MODEL_NAME, CustomOp, Kind, ModelSpec
from pytest_mme.models.writing.customop import Language, compile_op
from pytest_mme.validation import check

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from pytest_mme.models.spec import ModelFields

_SUFFIXES = (".tar.gz", ".tgz")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """One model of an endpoint: its archive, and the predictions that are expected of it."""

    name: str = dataclasses.field(metadata=MODEL_NAME)
    archive: Path
    """Its `model.tar.gz`, whatever the file is called."""
    spec: ModelSpec | None = None
    """None for an archive that the kit did not build."""
    op_libraries: tuple[Path, ...] = ()
    """The op libraries that a server needs for it: ``mme_server(op_libraries=model.op_libraries)``."""
    known: KnownAnswers | None = dataclasses.field(default=None, repr=False, compare=False)
    """What it is known to predict, for an archive that the kit did not build; None: nobody said."""

    def __post_init__(self) -> None:
        check(self)

    @property
    def key(self) -> str:
        """Return the archive's name on an endpoint, SageMaker's `TargetModel`: ``<name>.tar.gz``."""
        return f"{self.name}.tar.gz"

    @property
    def examples(self) -> Sequence[Any]:
        """Instances that it takes, each with a known prediction; none for an archive of which nobody said any."""
        if self.spec is not None:
            return (self.spec.example,)
        return () if self.known is None else self.known.xs

    def answer(
        self, x: Any, *, version: int | None = None, signature: str = DEFAULT_SIGNATURE, before: float = 0.0
    ) -> Answer:
        """Return the prediction that is expected for the instance *x*; `ModelSpec.answer` describes the arguments.

        Of an archive that the kit did not build, answers are known by the `answers` of `Models.archive`: for the version
        that servers serve and the signature ``serving_default``. Raises `UnknownAnswerError` where none is known.
        """
        if self.spec is not None:
            return self.spec.answer(x, version=version, signature=signature, before=before)
        if self.known is None:
            raise UnknownAnswerError(self.name, str(self.archive))
        asked = _besides(version=version, signature=signature, before=before)
        if not asked:
            try:
                return self.known.answer(self.name, x)
            except NotKnownError:
                asked = f"x = {shown(x)}"
        raise UnknownAnswerError(self.name, str(self.archive), asked, tuple(self.known.xs))


def _besides(*, version: int | None, signature: str, before: float) -> str:
    """Return what of these is asked for that no answer of a user's archive is about; empty when nothing is."""
    if version is not None:
        return f"version {version}, rather than the one that is served"
    if signature != DEFAULT_SIGNATURE:
        return f"the signature {signature}, rather than {DEFAULT_SIGNATURE}"
    return f"before={before:g}: only the kit's counters remember calls" if before else ""


class Models:
    """Builds models; equal specifications share one archive in *store*."""

    def __init__(
        self,
        store: Store | None = None,
        helper_directory: Path | None = None,
        exporters: Exporters | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """Keep archives in *store*, by default the user's, and other versions' *exporters* in the folder beside it.

        *recorder*: asks a model on a server, for ``archive(path, answers="recorded")``.

        Builders with the same *helper_directory*, a folder that only this user can write to, share one process that
        runs TensorFlow's Python package, for each version of it: give all workers of a run the same one. By default it
        is this builder's own.
        """
        self.store = store or Store()
        self.exporters = exporters or Exporters(self.store.directory.parent)
        self._helper_directory = helper_directory
        self._others: dict[str, TensorFlowProcess] = {}
        self._undo = contextlib.ExitStack()
        self._answerers = Answerers(self.store, self.exporters, self._process, recorder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that were started to build models. Closing twice is fine, and so is building again afterwards."""
        self._undo.close()
        self._others.clear()
        vars(self).pop("_tensorflow", None)

    def linear(self, name: str = "model", **spec: Unpack[ModelFields]) -> Model:
        """Build a model that predicts ``slope * x + intercept``, both its own; *spec*: the fields of `ModelSpec`."""
        return self.build(ModelSpec(name=name, kind="linear", **spec))

    def fleet(self, n: int, name: str = "model", kind: Kind = "linear", **spec: Unpack[ModelFields]) -> list[Model]:
        """Build *n* models that differ in their names, ``model-0`` …, and their predictions."""
        return self.build_all([ModelSpec(name=f"{name}-{number}", kind=kind, **spec) for number in range(n)])

    def counter(self, name: str = "counter", **spec: Unpack[ModelFields]) -> Model:
        """Build a model that counts: each call adds ``sum(x)`` and predicts the count, ``model.answer(x, before=n)``.

        It reads the count, spends the call's costs (`sleep_ms` and the like) and then writes, so that two calls at once
        lose an update. Every process that loads it starts from 0.
        """
        return self.build(ModelSpec(name=name, kind="counter", **spec))

    def text(self, name: str = "text", **spec: Unpack[ModelFields]) -> Model:
        """Build a model of strings, which predicts ``"<identity>: <x>"``."""
        return self.build(ModelSpec(name=name, kind="text", **spec))

    def keras(self, name: str = "keras", **spec: Unpack[ModelFields]) -> Model:
        """Build a Keras model, exported by TensorFlow's own package: a dense layer, weights in a checkpoint.

        It is a model of Keras 3, or of Keras 2 when a TensorFlow before 2.16 saves it (*saved_by*). The first one of a
        run takes seconds, a cached one nothing; `fleet` with ``kind="keras"`` builds many at once. Raises `BuildError`
        when TensorFlow fails.
        """
        return self.build(ModelSpec(name=name, kind="keras", **spec))

    def custom_op(
        self,
        name: str = "custom",
        *,
        op: str = CustomOp.name,
        factor: float = CustomOp.factor,
        language: Language = "c",
        crash: bool = False,
        tensorflow: Path | None = None,
        **spec: Unpack[ModelFields],
    ) -> Model:
        """Build a model with a custom op, *op*, which multiplies by *factor*: ``slope * (factor * x) + intercept``.

        Servers refuse it with `Op type not registered`, unless they are given its `op_libraries`: one, compiled here.
        In C the library works with TensorFlow 2.6 and later, in C++ with the TensorFlow in the folder *tensorflow*, by
        default the installed one. With *crash* a call ends the process that runs it. Raises `UnavailableError` without
        a compiler.
        """
        custom_op = CustomOp(name=op, factor=factor)
        tensorflow = tensorflow or self.exporters.version_cache.directory()
        library = compile_op(
            custom_op, self.store.directory / "ops", language=language, crash=crash, tensorflow=tensorflow
        )
        model = self.build(ModelSpec(name=name, custom_op=custom_op, **spec))
        return dataclasses.replace(model, op_libraries=(library,))

    def build(self, spec: ModelSpec) -> Model:
        """Build the model of a specification; raises `UnavailableError` when the TensorFlow of its `saved_by` cannot be had."""
        return self.build_all([spec])[0]

    def build_all(self, specs: Sequence[ModelSpec]) -> list[Model]:
        """Build the models of these specifications; those that need TensorFlow's package, in one step for each version of it."""
        # The version of TensorFlow's package is part of the key of what that package writes.
        keys = [
            f"{spec.digest}-{self.exporters.identity(_exporter(spec))}" if spec.exported else spec.digest
            for spec in specs
        ]
        missing = {key: spec for key, spec in zip(keys, specs, strict=True) if spec.exported and key not in self.store}
        for saved_by in {_exporter(spec) for spec in missing.values()}:
            self._export({key: spec for key, spec in missing.items() if _exporter(spec) == saved_by}, saved_by)
        return [
            Model(name=spec.name, spec=spec, archive=self._archive(key, spec))
            for key, spec in zip(keys, specs, strict=True)
        ]

    def _archive(self, key: str, spec: ModelSpec) -> Path:
        if not spec.exported:
            return self.store.archive(key, functools.partial(_write, spec))
        while True:
            try:
                return self.store.archive(key, _must_be_there)
            except _GoneError:  # another process has pruned it since it was found there
                self._export({key: spec}, _exporter(spec))

    def _export(self, specs: Mapping[str, ModelSpec], saved_by: str) -> None:
        """Save each of *specs* under its key."""
        process = self._process(self.exporters.exporter(saved_by))
        with process.lock, self.store.drafts() as drafts:
            # Another process may have been faster.
            missing = {key: spec for key, spec in specs.items() if key not in self.store}
            if missing:
                process.build([*missing.values()], drafts)
            for number, (key, spec) in enumerate(missing.items()):
                write_code(spec.code, drafts / str(number))
                self.store.archive(key, functools.partial(pack, drafts / str(number)))

    def _process(self, exporter: Exporter) -> TensorFlowProcess:
        if exporter.python is None:
            return self._tensorflow
        if exporter.tensorflow not in self._others:
            directory = self._tensorflow.directory / f"tensorflow-{exporter.tensorflow}"
            directory.mkdir(mode=0o700, exist_ok=True)
            process = self._undo.enter_context(contextlib.closing(TensorFlowProcess(directory, exporter.python)))
            self._others[exporter.tensorflow] = process
        return self._others[exporter.tensorflow]

    @functools.cached_property
    def _tensorflow(self) -> TensorFlowProcess:
        directory = self._helper_directory or Path(self._undo.enter_context(tempfile.TemporaryDirectory()))
        return self._undo.enter_context(contextlib.closing(TensorFlowProcess(directory)))

    def archive(
        self,
        path: Path | str,
        name: str | None = None,
        *,
        answers: AnswersFrom | None = None,
        inputs: Sequence[Any] | None = None,
        code: Path | str | None = None,
        tf: str | None = None,
        rtol: float | None = None,
        atol: float | None = None,
    ) -> Model:
        """Return a model of your own: a `model.tar.gz`, a SavedModel's folder, or a folder of numbered versions.

        A SavedModel is packed as version 1. A ``code/inference.py`` in the folder is packed, too, and may stand without
        any version, for a model that it loads itself. An archive is used as it is, without reading it (but for the types
        of its outputs, with *answers*). The model is named after the file or folder unless *name* is given. Raises `ArchiveError` for anything else.

        *answers* says what the model is known to predict, for `check_answers` and `model.answer`:

        - ``"recorded"``: the kit asks the model for *inputs*, alone, on the embedded server, and keeps what it predicted:
          through its own handler, or through *code*, the folder that servers get as `code` or the file of `mme_handler`.
        - ``"python"``: it asks the SavedModel by TensorFlow's Python package, without any handler, in a process of its
          own, and keeps that.
        - a function, which returns the prediction for an instance; threads that send requests call it.
        - the path of a file of JSON lines, ``{"x": [1.0], "prediction": [3.5]}``.

        *inputs* are instances, by default made from the signature; *tf*, the TensorFlow that is asked, is by default
        the one of servers, or for ``"python"`` the installed one. Floats may differ by *rtol*, relatively, or by *atol*,
        by default as the types of the model's outputs allow: 1e-9 and 1e-12 for float64, 1e-5 and 1e-6 for float32, 1e-2
        and 1e-3 for float16, 5e-2 and 1e-2 for bfloat16; whole numbers and texts not at all.

        Raises `AnswersError` when the answers cannot be known, such as those of a model that is not deterministic,
        `UnavailableError` when TensorFlow cannot be had, ValueError for options that do not go with *answers*.
        """
        model = self._own(Path(path), name)
        options = {"inputs": inputs, "code": code, "tf": tf, "rtol": rtol, "atol": atol}
        check_options(answers, options)
        if answers is None:
            return model
        tolerances = tolerances_of(model.archive, rtol, atol)
        given = None if inputs is None else instances(inputs)
        if callable(answers):
            return dataclasses.replace(
                model, known=KnownAnswers(by_function(model.name, answers), given or (), tolerances)
            )
        if (asked := asked_of(answers)) is not None:
            question = Question(model=model, inputs=given, code=None if code is None else Path(code), tf=tf)
            pairs = self._answerers.pairs(asked, question, tolerances)
        else:
            pairs = read_pairs(model.name, Path(answers))
        return dataclasses.replace(model, known=KnownAnswers.of(pairs, tolerances))

    def _own(self, path: Path, name: str | None) -> Model:
        if path.is_file() and path.name.endswith(_SUFFIXES):
            return Model(name=name or path.name.removesuffix(".tgz").removesuffix(".tar.gz"), archive=path)
        if not path.is_dir():
            seen = "another kind of file" if path.exists() else "nothing of that name"
            raise ArchiveError(
                f"{path} is not a model", seen, f"give a file that ends in {' or '.join(_SUFFIXES)}, or a folder"
            )
        inside = "1" if is_saved_model(path) else ""
        if not inside and code_in(path) is None:  # such code may load a model of another kind
            versions(path)  # raises `ArchiveError` if there are none
        with self.store.drafts() as drafts:
            draft = drafts / "model.tar.gz"
            pack(path, draft, inside=inside)
            archive = self.store.archive(sha256(draft), lambda target: target.hardlink_to(draft))
        return Model(name=name or path.resolve().name, archive=archive)

    def forge(self, model: Model, forgery: str, name: str | None = None) -> Model:
        """Return *model*, damaged in one way: `pytest_mme.models.forging.forge.FORGERIES` names them all.

        docs/forging.md describes what servers do with each. The model is named ``<model>-<forgery>`` unless *name* is
        given, and keeps its expected predictions where the forgery does not change them. Raises ValueError for an
        unknown forgery, and `ArchiveError` when the model does not have what the forgery changes.
        """
        from pytest_mme.models.forging.forge import FORGER, find, forge_archive  # protobuf, as in `_write`

        kept = find(forgery).keeps_answers
        spec, known = (model.spec, model.known) if kept else (None, None)
        key = hashlib.sha256(f"{FORGER}/{forgery}/{sha256(model.archive)}".encode()).hexdigest()
        forged = self.store.archive(key, lambda path: forge_archive(model.archive, path, forgery))
        name = name or f"{model.name}-{forgery}"
        return dataclasses.replace(model, name=name, archive=forged, spec=spec, known=known)

    def optimised(
        self,
        model: Model,
        name: str | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        tolerance: float = 1e-5,
        saved_by: str | None = None,
    ) -> Model:
        """Return *model* with its variables frozen into constants and its graph rewritten by Grappler.

        It predicts as before, which is checked: floats may differ by *tolerance*, relatively or absolutely, all else
        not at all. The check uses *inputs*, values by the names of the inputs, as in ``{"x": [[1.0], [2.0]]}``, or else
        two rows of random numbers. The model is named ``<model>-optimised`` unless *name* is given. The TensorFlow is
        *saved_by*, by default the one that saved *model* if that is known, else the installed one.

        Raises `ArchiveError` for a model that cannot be optimised: one with lookup tables or assets, one that writes
        its variables, or one whose predictions then differ. docs/optimised.md has the effect on memory, load time and
        latency. Where its predictions are known they still are, within *tolerance* at least.
        """
        exporter = saved_by or (model.spec and model.spec.saved_by) or tensorflow_versions.INSTALLED
        given = plain(inputs)
        made_by = f"{OPTIMISER}/{self.exporters.identity(exporter)}/{tolerance}/{given}"
        key = hashlib.sha256(f"{made_by}/{sha256(model.archive)}".encode()).hexdigest()
        while key not in self.store:
            process = self._process(self.exporters.exporter(exporter))
            freeze = functools.partial(process.freeze, name=model.name, inputs=given, tolerance=tolerance)
            with process.lock, self.store.drafts() as drafts:
                optimise(model.archive, drafts / "optimised", freeze)
                self.store.archive(key, functools.partial(pack, drafts / "optimised"))
        archive = self.store.archive(key, _must_be_there)
        known = model.known and model.known.at_least(Tolerance(tolerance, tolerance))
        return dataclasses.replace(model, name=name or f"{model.name}-optimised", archive=archive, known=known)

    def bundled(self, model: Model, name: str | None = None) -> Model:
        """Return *model* with its `op_libraries` in its archive, in ``code/op_libraries/``, for its own process only.

        The kit's servers load them with the model: the embedded server and the image with multi-model-server.
        TensorFlow Serving does not, and so AWS's TensorFlow containers do not. Raises ValueError for a model without
        `op_libraries` or with two of one name, and `ArchiveError` for an archive that cannot be unpacked.
        """
        if not model.op_libraries:
            raise ValueError(f"{model.name} has no op_libraries to bundle")
        names = [library.name for library in model.op_libraries]
        if len(set(names)) < len(names):
            raise ValueError(f"op_libraries of {model.name}: two have the same name, {', '.join(sorted(names))}")
        contents = "/".join(map(sha256, (model.archive, *model.op_libraries)))
        key = hashlib.sha256(f"bundled/{contents}".encode()).hexdigest()
        archive = self.store.archive(key, functools.partial(_bundle, model))
        return dataclasses.replace(model, name=name or model.name, archive=archive, op_libraries=())


class _GoneError(Exception):
    """An archive is no longer in the store."""


def _must_be_there(_: Path) -> None:
    raise _GoneError


def _exporter(spec: ModelSpec) -> str:
    return spec.saved_by or tensorflow_versions.INSTALLED


def _write(spec: ModelSpec, archive: Path) -> None:
    from pytest_mme.models.writing.saved_model import (
        write,  # protobuf and the message classes: 0.1 s that not every run needs
    )

    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        write(spec, Path(folder))
        write_code(spec.code, Path(folder))
        pack(Path(folder), archive)


def _bundle(model: Model, archive: Path) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        root = Path(folder) / "model"
        extract(model.archive, root)
        bundled = root / "code" / OP_LIBRARIES
        bundled.mkdir(parents=True, exist_ok=True)
        for library in model.op_libraries:
            shutil.copy(library, bundled)
        pack(root, archive)
