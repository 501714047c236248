"""The builder: models by what they do, as archives with known answers."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mme.errors import ArchiveError, UnknownAnswerError
from pytest_mme.models.answer import Answer
from pytest_mme.models.archive import is_saved_model, pack, versions
from pytest_mme.models.spec import DEFAULT_SIGNATURE, ModelSpec, check_name
from pytest_mme.models.store import Store

if TYPE_CHECKING:
    from typing_extensions import Self

_SUFFIXES = (".tar.gz", ".tgz")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """One model of an endpoint: its archive, and what it must answer."""

    name: str
    archive: Path
    """Its `model.tar.gz`, whatever the file is called."""
    spec: ModelSpec | None = None
    """None for an archive that the kit did not build."""

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def key(self) -> str:
        """The archive's name on an endpoint, SageMaker's `TargetModel`: ``<name>.tar.gz``."""
        return f"{self.name}.tar.gz"

    def answer(
        self, x: Any, *, version: int | None = None, signature: str = DEFAULT_SIGNATURE, before: float = 0.0
    ) -> Answer:
        """What the model must answer to the instance *x*: `ModelSpec.answer`, which see.

        Raises `UnknownAnswerError` for an archive that the kit did not build.
        """
        if self.spec is None:
            raise UnknownAnswerError(self.name, str(self.archive))
        return self.spec.answer(x, version=version, signature=signature, before=before)


class Models:
    """Builds models; equal specifications share one archive in *store*."""

    def __init__(self, store: Store | None = None, helper_directory: Path | None = None) -> None:
        self.store = store or Store()
        self._helper_directory = helper_directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what was started to build models. Closing twice is fine."""

    def linear(self, name: str = "model", **spec: Any) -> Model:
        """A model that answers ``slope * x + intercept``, both its own; *spec*: the fields of `ModelSpec`."""
        return self.build(ModelSpec(name=name, kind="linear", **spec))

    def fleet(self, n: int, name: str = "model", **spec: Any) -> list[Model]:
        """*n* models that are alike but for their names, ``model-0`` …, and their answers."""
        return [self.linear(name=f"{name}-{number}", **spec) for number in range(n)]

    def counter(self, name: str = "counter", **spec: Any) -> Model:
        """A model that counts: each call adds ``sum(x)`` and answers the count, ``model.answer(x, before=n)``.

        It reads the count, pays the call's costs (`sleep_ms` and the like) and then writes: two calls at once lose an
        update. Every process that loads it starts from 0.
        """
        return self.build(ModelSpec(name=name, kind="counter", **spec))

    def text(self, name: str = "text", **spec: Any) -> Model:
        """A model of strings: answers ``"<identity>: <x>"``."""
        return self.build(ModelSpec(name=name, kind="text", **spec))

    def archive(self, path: Path | str, name: str | None = None) -> Model:
        """A model of your own: a `model.tar.gz`, a SavedModel's folder, or a folder of numbered versions.

        A SavedModel is packed as version 1; an archive is taken as it is, unread. Named after the file or folder unless
        *name* is given. Raises `ArchiveError` for anything else.
        """
        path = Path(path)
        if path.is_file() and path.name.endswith(_SUFFIXES):
            return Model(name=name or path.name.removesuffix(".tgz").removesuffix(".tar.gz"), archive=path)
        if not path.is_dir():
            seen = "another kind of file" if path.exists() else "nothing of that name"
            raise ArchiveError(
                f"{path} is no model", seen, f"give a file that ends in {' or '.join(_SUFFIXES)}, or a folder"
            )
        return Model(name=name or path.resolve().name, archive=self._packed(path))

    def _packed(self, folder: Path) -> Path:
        inside = "1" if is_saved_model(folder) else ""
        if not inside:
            versions(folder)  # raises if there is none
        with tempfile.TemporaryDirectory(dir=self.store.directory, prefix=".draft-") as drafts:
            draft = Path(drafts, "model.tar.gz")
            pack(folder, draft, inside=inside)
            return self.store.archive(_sha256(draft), lambda path: path.hardlink_to(draft))

    def build(self, spec: ModelSpec) -> Model:
        """The model of any specification."""
        return Model(
            name=spec.name, spec=spec, archive=self.store.archive(spec.digest, lambda path: _write(spec, path))
        )


def _write(spec: ModelSpec, archive: Path) -> None:
    from pytest_mme.models.write import write  # protobuf and the message classes: 0.1 s that not every run needs

    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        write(spec, Path(folder))
        pack(Path(folder), archive)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
