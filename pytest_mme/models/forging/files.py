"""Forgeries with files that are cut, changed or missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from pytest_mme.archives.archive import versions
from pytest_mme.errors import ArchiveError
from pytest_mme.models.forging.forgery import Change, Forgery, binary, of_each_version

_LOST_ON_THE_WAY = "an upload or a download broke off, or the disk was full"
_ERROR_PAGE = b"<!DOCTYPE html>\n<title>404 Not Found</title>\n" + b"<p>The page that you look for is not here.\n" * 40
_GIT_LFS_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n" + b"oid sha256:" + b"4d7a" * 16 + b"\n" + b"size 1048576\n"
)
_FLIPPED = bytes(byte ^ 1 for byte in range(256))

Spoil = Callable[[bytes], bytes]
"""Returns the damaged content of a file."""


def _graph_becomes(spoil: Spoil) -> Change:
    return of_each_version(lambda version: _spoil(binary(version), spoil))


def _of_each_checkpoint(change: Callable[[Path], object]) -> Change:
    """Make *change* in each `variables` folder with a checkpoint, where the C++ loader looks for one."""

    def change_all(folder: Path) -> None:
        checkpoints = [
            path
            for _, version in versions(folder)
            if (path := version / "variables").joinpath("variables.index").is_file()
        ]
        if not checkpoints:
            raise ArchiveError(
                "the model has no variables to forge",
                "no version holds variables/variables.index",
                "use a model with a checkpoint, such as Models.keras(); the kit's others need none",
            )
        for variables in checkpoints:
            change(variables)

    return change_all


def _of_each_shard(change: Callable[[Path], object]) -> Change:
    def change_all(variables: Path) -> None:
        for shard in sorted(variables.glob("variables.data-?????-of-?????")):
            change(shard)

    return _of_each_checkpoint(change_all)


def _spoil(path: Path, spoil: Spoil) -> None:
    path.write_bytes(spoil(path.read_bytes()))


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


FORGERIES = (
    Forgery(
        name="cut-pb",
        about=f"`saved_model.pb` ends half-way: {_LOST_ON_THE_WAY}.",
        change=_graph_becomes(_half),
    ),
    Forgery(
        name="empty-pb",
        about="`saved_model.pb` is empty: the process that wrote it died, or the disk was full.",
        change=_graph_becomes(lambda _: b""),
    ),
    Forgery(
        name="garbage-pb",
        about="`saved_model.pb` is a web server's error page: a download that did not look at the status.",
        change=_graph_becomes(lambda _: _ERROR_PAGE),
    ),
    Forgery(
        name="git-lfs-pointer",
        about="`saved_model.pb` is a pointer of Git LFS: the repository was cloned without its large files.",
        change=_graph_becomes(lambda _: _GIT_LFS_POINTER),
    ),
    Forgery(
        name="missing-variables",
        about="There is no `variables/`: only `saved_model.pb` was copied.",
        change=_of_each_checkpoint(shutil.rmtree),
    ),
    Forgery(
        name="missing-index",
        about="`variables/` has no `variables.index`: a copy of the large files only.",
        change=_of_each_checkpoint(lambda variables: (variables / "variables.index").unlink()),
    ),
    Forgery(
        name="cut-index",
        about=f"`variables.index` ends half-way: {_LOST_ON_THE_WAY}.",
        change=_of_each_checkpoint(lambda variables: _spoil(variables / "variables.index", _half)),
    ),
    Forgery(
        name="missing-data",
        about="`variables/` has no `variables.data-…`: a filter for large files left it out.",
        change=_of_each_shard(Path.unlink),
    ),
    Forgery(
        name="cut-data",
        about=f"`variables.data-…` ends after its first byte: {_LOST_ON_THE_WAY}.",
        change=_of_each_shard(lambda shard: _spoil(shard, lambda content: content[:1])),
    ),
    Forgery(
        name="flipped-data",
        about="A bit of each byte of `variables.data-…` is another: it was changed on the way, or is that of another "
        "export than `variables.index`.",
        change=_of_each_shard(lambda shard: _spoil(shard, lambda content: content.translate(_FLIPPED))),
    ),
)
