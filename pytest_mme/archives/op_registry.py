"""The operations of each TensorFlow release, from the releases' own lists; reads them without TensorFlow.

`ops.json.gz` is made by `tools/make_op_registry.py` from the last release of every minor version.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from pytest_mme import versions
from pytest_mme.errors import UnavailableError


class Registry:
    """The operations by release. A version counts as the last release of its minor version."""

    def __init__(self, releases: list[str], graph_def: list[int], ops: Mapping[str, Any]) -> None:
        self.releases, self._graph_def, self._ops = tuple(releases), graph_def, ops
        self._columns = {versions.minor(release): number for number, release in enumerate(releases)}

    def serving(self, asked: str) -> str:
        """Resolve a requested version; ``latest`` is the last one in the registry.

        Raises ValueError for one that is not in it, and `UnavailableError` for ``installed`` when none is installed.
        """
        if asked == versions.LATEST:
            return self.releases[-1]
        version = versions.installed() if asked == versions.INSTALLED else asked
        self._column(version)  # it raises for a version that is not in the registry
        return version

    def nearest_installed(self) -> str:
        """Return the installed TensorFlow; the last release when none is installed or the registry does not have it."""
        try:
            installed = versions.installed()
        except UnavailableError:
            return self.releases[-1]
        return installed if versions.minor(installed) in self._columns else self.releases[-1]

    def graph_def(self, version: str) -> int:
        """Return the GraphDef version of a release: the one it writes, and the newest that it promises to run."""
        return self._graph_def[self._column(version)]

    def _column(self, version: str) -> int:
        try:
            return self._columns[versions.minor(version)]
        except KeyError:
            first, last = self.releases[0], self.releases[-1]
            raise ValueError(f"nothing is known of TensorFlow {version}: there is {first} to {last}") from None

    def has(self, op: str, version: str) -> bool:
        """Whether that release has the operation."""
        return op in self._ops and _within(self._ops[op]["in"], self._column(version))

    def span(self, op: str) -> tuple[str, str] | None:
        """Return the first and the last release that have an operation; None for a custom one."""
        if op not in self._ops:
            return None
        first, last = self._ops[op]["in"]
        return self.releases[first], self.releases[last]

    def runs_on_cpu(self, op: str, version: str) -> bool:
        """Whether that release has a kernel of the operation for the CPU."""
        return "cpu" in self._ops.get(op, {}) and _within(self._ops[op]["cpu"], self._column(version))

    def has_attribute(self, op: str, attribute: str, version: str) -> bool:
        """Whether the operation has that attribute there."""
        known = self._ops[op]["attributes"].get(attribute)
        return known is not None and _within(known["in"], self._column(version))

    def attribute_since(self, op: str, attribute: str) -> str | None:
        """Return the first release in which the operation has that attribute; None when no release has it."""
        known = self._ops[op]["attributes"].get(attribute)
        return None if known is None else self.releases[known["in"][0]]

    def default(self, op: str, attribute: str) -> bytes | None:
        """Return the default of an attribute, a serialised `AttrValue`; None when there is none."""
        default = self._ops[op]["attributes"].get(attribute, {}).get("default")
        return None if default is None else base64.b64decode(default)

    def takes(self, op: str, attribute: str, data_type: str, version: str) -> bool:
        """Whether an attribute may be that `DataType`, such as ``"DT_INT64"``, in that release."""
        types = self._ops[op]["attributes"].get(attribute, {}).get("types")
        return types is None or types.get(data_type, len(self.releases)) <= self._column(version)


def _within(span: list[int], column: int) -> bool:
    return span[0] <= column <= span[1]


@functools.cache
def registry() -> Registry:
    """Return the registry that comes with the kit."""
    return Registry(**json.loads(gzip.decompress(files(__package__).joinpath("ops.json.gz").read_bytes())))
