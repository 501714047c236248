"""What twelve failing tests show, each of which a new user could have written: the reason first, and not too much."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_mme.plugin.evidence import MOST_LINES

pytestmark = pytest.mark.slow

FIRST = 10
TWELVE = Path(__file__).parent / "failing" / "twelve.py"
REASONS = {
    "test_wrong_answer": r"assert \[.*\] == 12\.0",
    "test_out_of_memory_at_load": "load of huge replied 500.*huge cannot be loaded: its worker was killed for lack of memory",
    "test_out_of_memory_at_predict": "model hungry is gone: its worker was killed for lack of memory",
    "test_handler_fails": r"NameError: name 'prices' is not defined \(handler.py, line 3\)",
    "test_times_out": "Read timeout on endpoint URL",
    "test_unknown_model": r"Failed to download model data \(bucket: pytest-mme, key: ranking/model-7.tar.gz\)",
    "test_unreachable_engine": "a container engine cannot be had here.*tcp://127.0.0.1:1: Connection refused.*start Docker",
    "test_failed_load": r"where 20 = <Load closed load, .*60 requests.*; 40 ok, 20 ModelError; p50 .* ms",
    "test_lost_request": r"requests? under way were lost: prices",
    "test_thrash": "of 30 requests found their model in memory, and 90% must",
    "test_race": "of 80 predictions are wrong.*that is model-[01]'s",
    "test_missing_archive": "dist/prices.tar.gz is not a model.*nothing of that name",
}


def test_each_failure_says_its_reason_first_and_takes_few_lines(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner.makepyfile(TWELVE.read_text())
    local = inner.runpytest_subprocess("-k", "not test_unreachable_engine")
    local.assert_outcomes(failed=11, deselected=1)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    docker = inner.runpytest_subprocess("--mme-runtime=docker", "-k", "test_unreachable_engine")
    docker.assert_outcomes(failed=1, deselected=11)
    shown = {**_failures(local.outlines), **_failures(docker.outlines)}
    assert shown.keys() == REASONS.keys()
    lengths = {name: len(lines) for name, lines in shown.items()}
    assert max(lengths.values()) <= MOST_LINES, lengths
    late = {name: lines for name, lines in shown.items() if not _says(lines[:FIRST], REASONS[name])}
    assert late == {}


def _failures(lines: list[str]) -> dict[str, list[str]]:
    """The lines of each failed test, with its title."""
    found = dict[str, list[str]]()
    lines = lines[lines.index(next(line for line in lines if line.strip("= ") == "FAILURES")) + 1 :]
    name = ""
    for line in lines:
        if line.startswith("===="):
            break
        if title := re.fullmatch(r"_{4,} (test_\w+) _{4,}", line):
            name = title[1]
        found.setdefault(name, []).append(line)
    return found


def _says(lines: list[str], reason: str) -> bool:
    return re.search(reason, " ".join(line.removeprefix("E").strip() for line in lines)) is not None
