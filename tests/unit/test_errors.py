"""Why a connection failed, in the system's words."""

from __future__ import annotations

import pytest

from pytest_mme.errors import UnavailableError, why_unreachable
from pytest_mme.runtimes.docker.engine import connect


def _wrapped(error: Exception) -> Exception:
    wrapper = RuntimeError("Max retries exceeded")
    wrapper.__cause__ = ValueError("in between", error)
    return wrapper


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (_wrapped(FileNotFoundError(2, "No such file or directory")), "No such file or directory"),
        (RuntimeError(("Connection aborted.", PermissionError(13, "Permission denied"))), "Permission denied"),
        (RuntimeError("<x object at 0x1>: read timed out\nmore"), "read timed out"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_the_systems_words_are_found_in_what_libraries_wrap_around_them(error: Exception, why: str) -> None:
    assert why_unreachable(error) == why


@pytest.mark.parametrize(
    ("host", "why"),
    [("tcp://127.0.0.1:1", "Connection refused"), ("unix:///nowhere.sock", "No such file or directory")],
)
def test_an_engine_that_does_not_answer_is_one_sentence_and_what_to_try(
    monkeypatch: pytest.MonkeyPatch, host: str, why: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(UnavailableError) as refused:
        connect()
    assert str(refused.value).splitlines() == [
        "a container engine cannot be had here",
        f"  seen: {host}: {why}",
        "  next: start Docker, or point DOCKER_HOST at an engine; without one, use --mme-runtime=local",
    ]
