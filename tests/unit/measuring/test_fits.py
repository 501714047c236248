"""When the memory of a server is at rest."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_mme.contract.dialects import CONTRACT, MULTI_MODEL_SERVER, Dialect
from pytest_mme.measuring import fits

MIB = 2**20


class Server:
    """A server of a dialect whose memory falls from reading to reading."""

    def __init__(self, dialect: Dialect, *used_bytes: int) -> None:
        self.dialect, self._used_bytes = dialect, iter(used_bytes)

    def used_bytes(self) -> int:
        return next(self._used_bytes)


@pytest.mark.parametrize(
    ("dialect", "at_rest"),
    [(CONTRACT, 500 * MIB), (MULTI_MODEL_SERVER, 100 * MIB)],
    ids=["frees at an unload", "frees later"],
)
def test_memory_is_read_once_where_an_unload_frees_it_and_else_until_it_falls_no_more(
    monkeypatch: pytest.MonkeyPatch, dialect: Dialect, at_rest: int
) -> None:
    monkeypatch.setattr(fits, "_SAMPLED_EVERY_S", 0.0)
    server: Any = Server(dialect, 500 * MIB, 300 * MIB, 100 * MIB, 100 * MIB)
    assert fits._at_rest(server) == at_rest
