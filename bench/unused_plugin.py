"""What the plugin costs a suite that does not use it.

No other plugin is loaded: they would share imports with ours, and some take a second that varies more than ours costs.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.claims import Claim, Row
from bench.measure import median_difference_ms, median_ms, seconds_of
from bench.processes import ROOT
from bench.rig import Rig

_PAIRS = 60
_IMPORTS = 5
_PLUGIN = "mme"
_NO_TESTS = 5  # pytest.ExitCode.NO_TESTS_COLLECTED
_IMPORT = re.compile(r"import time: +\d+ \| +(\d+) \|(?P<depth> +)(?P<name>pytest_mme[.\w]*)")


def plugin(rig: Rig) -> Sequence[Row]:
    """pytest on an empty file, with and without, in turn; then the import alone."""
    rig.say(f"{_PAIRS} pairs of an empty pytest run")
    with tempfile.TemporaryDirectory(prefix="pytest-mme-bench-") as directory:
        pairs = [_pair(Path(directory), with_first=bool(number % 2)) for number in range(-1, _PAIRS)][1:]
    rig.say("imports of the plugin")
    with_it, without = zip(*pairs, strict=True)
    return [
        Claim(what=f"an empty pytest run with the plugin (median of {_PAIRS})", ours=median_ms(with_it), unit="ms"),
        Claim(
            what=f"what the unused plugin adds (median of {_PAIRS} pairs)",
            ours=median_difference_ms(with_it, without),
            unit="ms",
            at_most=15,
        ),
        Claim(what=f"import of pytest_mme.plugin (importtime, median of {_IMPORTS})", ours=_import_ms(), unit="ms"),
    ]


def _pair(directory: Path, *, with_first: bool) -> tuple[float, float]:
    """Seconds with and without the plugin; who goes first changes, so that neither has the warmer caches."""
    others = _other_plugins()
    order = (others, others | {_PLUGIN}) if with_first else (others | {_PLUGIN}, others)
    seconds = {blocked: _empty_run_s(directory, blocked) for blocked in order}
    return seconds[others], seconds[others | {_PLUGIN}]


def _other_plugins() -> frozenset[str]:
    return frozenset(found.name for found in importlib.metadata.entry_points(group="pytest11")) - {_PLUGIN}


def _empty_run_s(directory: Path, blocked: Iterable[str]) -> float:
    """One run of pytest, start to end, which loads what is installed but for the *blocked* plugins."""
    test = directory / "test_empty.py"
    test.touch()
    options = itertools.chain.from_iterable(("-p", f"no:{name}") for name in ("cacheprovider", *blocked))
    command = [sys.executable, "-m", "pytest", *options, str(test)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}

    def run() -> None:
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, check=False, timeout=60)
        if done.returncode != _NO_TESTS:
            raise RuntimeError(f"pytest ended with {done.returncode}: {done.stdout.decode()[-2000:]}")

    return seconds_of(run)


def _import_ms() -> float:
    return statistics.median(_import_us() for _ in range(_IMPORTS)) / 1000


def _import_us() -> int:
    """pytest first, so that only what the plugin brings is counted."""
    command = [sys.executable, "-X", "importtime", "-c", "import pytest, pytest_mme.plugin"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60, text=True)
    found = [match for line in done.stderr.splitlines() if (match := _IMPORT.fullmatch(line))]
    top = min(len(match["depth"]) for match in found)
    return sum(int(match[1]) for match in found if len(match["depth"]) == top)
