"""SavedModels that declare another version, use unknown ops, or are damaged: made from any archive, without TensorFlow.

docs/forging.md describes what servers do with each.
"""

from __future__ import annotations

import gzip
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pytest_mme.archives.archive import extract
from pytest_mme.errors import shown
from pytest_mme.models.forging import assets, claims, files, graphs, layouts, mismatches
from pytest_mme.models.forging.forgery import Forgery

FORGER = 3  # goes into the keys of forged archives: raise it whenever a forgery makes another archive than before

_ALL = (
    *(*claims.FORGERIES, *graphs.FORGERIES, *assets.FORGERIES, *files.FORGERIES, *layouts.FORGERIES),
    *mismatches.FORGERIES,
)
FORGERIES: Mapping[str, Forgery] = MappingProxyType({forgery.name: forgery for forgery in _ALL})
"""All forgeries by name."""


def find(forgery: str) -> Forgery:
    """Return the forgery of that name; raises ValueError, with the names of all, if there is none."""
    try:
        return FORGERIES[forgery]
    except KeyError:
        raise ValueError(f"forgery: seen {shown(forgery)}; allowed: {', '.join(FORGERIES)}") from None


def forge(folder: Path, forgery: str) -> None:
    """Forge the unpacked archive in *folder*, which holds ``1/saved_model.pb`` and so on, in place.

    Every version is forged. Raises ValueError for a name that is not in `FORGERIES`, and `ArchiveError` when the model
    does not have what the forgery changes.
    """
    find(forgery).change(folder)


def forge_archive(archive: Path, forged: Path, forgery: str) -> None:
    """Write *archive*, forged, to *forged*; raises as `forge` and `extract` do."""
    with tempfile.TemporaryDirectory(dir=forged.parent) as drafts:
        folder = Path(drafts, "unpacked")
        extract(archive, folder)
        forge(folder, forgery)
        # As `tar -czf` packs it, links as links, which `pack` refuses; equal folders give equal bytes.
        with (
            forged.open("wb") as raw,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for path in sorted(folder.iterdir()):
                tar.add(path, path.name, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime, member.mode = 0, 0o755 if member.isdir() else 0o644
    return member
