"""`python -m tools.mutants ROOM`: change the code of a room in one place after the other, and see that a test notices.

cosmic-ray knows the changes. Each is made in a clone of HEAD, where the tests that hold the room then run, in a fork of
this process that has imported already what they need of others. All of a room takes hours: `--sample` takes so many of
the changes, at random. Prints those that no test notices, and exits with 1 when fewer than the room's aim are noticed.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import itertools
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_MEANINGLESS = re.compile(
    "|".join(
        (
            ".*BitOr.*",  # types
            ".*Mul_Div",  # the star in a signature
            ".*BinaryOperator_.*_(Pow|Mod|FloorDiv|LShift|RShift|BitAnd|BitXor)",  # caught by any test that runs the line
            ".*UnaryOperator_USub_.*",  # caught likewise, or the same as without the minus
            ".*ComparisonOperator_(Eq|NotEq|Is|IsNot)_(Lt|LtE|Gt|GtE)",  # names, kinds and outcomes have no order
            ".*ComparisonOperator_(Is|IsNot)_(Eq|NotEq)",
            ".*ComparisonOperator_.*_(Is|IsNot)",
            "core/RemoveDecorator",
        )
    )
)
_SWITCHES = re.compile(r"@dataclass(es\.dataclass)?\(")
"""Lines with nothing but switches that forbid something, which mypy holds."""
_IMPORTED = ("hypothesis.strategies", "numpy", "boto3", "moto.core", "aiohttp.web", "docker", "xdist.plugin")
"""What takes long to import of what tests need of others."""
_OPTIONS = (
    *("-qx", "-n0", "--failed-first"),  # what noticed a change may notice the next one, in the line below
    *("-m", "not stress and not slow"),
    *("--hypothesis-profile", "ci"),  # the same examples each time
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # of what is imported already
)
_ENDLESS = 5
"""So many times as long as without a change the tests may take; then they have noticed it."""


@dataclasses.dataclass(frozen=True)
class Room:
    """Modules, what holds them, and how much of what is changed has to be noticed."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    aim: float


ROOMS = {
    "checks": Room(
        ("checks", "timeline"), ("unit/checks", "unit/timeline", "unit/runtimes/test_shared_timeline.py", "truth"), 0.95
    ),
    "hosting": Room(("hosting",), ("unit/hosting", "local/test_endpoint.py"), 0.95),
    "serving": Room(("serving/table", "serving/memory"), ("unit/serving",), 0.85),
    "doctor": Room(("doctor",), ("unit/doctor",), 0.85),
    "traffic": Room(("traffic",), ("unit/traffic",), 0.85),
    "faults": Room(("faults",), ("unit/faults",), 0.85),
}


@dataclasses.dataclass(frozen=True, order=True)
class Change:
    """One change to one module."""

    path: Path
    row: int
    operator: str
    """Its name, as cosmic-ray has it."""
    occurrence: int
    """In which of the places where the operator changes something."""

    def of(self, code: str) -> str | None:
        """The module's *code* as it becomes; None where that is no Python."""
        from cosmic_ray import mutating, plugins

        changed: str = mutating.mutate_code(code, plugins.get_operator(self.operator)(), self.occurrence)
        try:
            compile(changed, self.path, "exec")
        except SyntaxError:
            return None
        return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("room", choices=ROOMS)
    parser.add_argument("--sample", type=int, metavar="N", help="take N changes, at random (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another sample (default: 0)")
    parser.add_argument("--tests", nargs="+", metavar="TEST", help="run only these of the folder tests")
    asked = parser.parse_args()
    room = ROOMS[asked.room]
    tests = [f"tests/{name}" for name in asked.tests or room.tests]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        found = [change for name in room.modules for change in _changes(clone, clone / "pytest_mme" / name)]
        random.Random(asked.seed).shuffle(found)
        sound = (change for change in found if change.of((clone / change.path).read_text()))
        kept = sorted(itertools.islice(sound, asked.sample))
        if not kept:
            parser.error("there is nothing to change: ask for a larger --sample")
        print(f"{len(kept)} changes to {', '.join(room.modules)}; each runs {', '.join(tests)}", flush=True)
        survived = sum(_survives(clone, kept, tests))
    noticed = 1 - survived / len(kept)
    print(f"{asked.room}: {noticed:.1%} of {len(kept)} changes were noticed; the aim is {room.aim:.0%}")
    sys.exit(noticed < room.aim)


def _changes(clone: Path, modules: Path) -> Iterator[Change]:
    """The changes to a package that may mean something."""
    from cosmic_ray import ast, plugins

    operators = {name: plugins.get_operator(name) for name in plugins.operator_names() if not _MEANINGLESS.match(name)}
    for path in sorted(modules.rglob("*.py")):
        code = path.read_text()
        nodes, lines = list(ast.ast_nodes(ast.get_ast(code))), code.splitlines()
        for name, operator in operators.items():
            if not operator.arguments():
                rows = [row for node in nodes for (row, _), _ in operator().mutation_positions(node)]
                for number, row in enumerate(rows):
                    if not _SWITCHES.match(lines[row - 1]):
                        yield Change(path.relative_to(clone), row, name, number)


def _survives(clone: Path, changes: Sequence[Change], tests: Sequence[str]) -> Iterator[bool]:
    """Whether no test notices each change; prints those."""
    for name in _IMPORTED:
        importlib.import_module(name)
    began_s = time.monotonic()
    if not _pass(clone, tests, limit_s=None):
        sys.exit("the tests fail without a change; run them")
    limit_s = 10 + _ENDLESS * (time.monotonic() - began_s)
    for change in changes:
        path = clone / change.path
        code, times = path.read_text(), path.stat()
        changed = change.of(code) or ""
        path.write_text(changed)
        survives = _pass(clone, tests, limit_s)
        path.write_text(code)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # its bytecode is that of this time
        if survives:
            line = changed.splitlines()[change.row - 1].strip()
            print(f"{change.path}:{change.row} {change.operator}: {line}", flush=True)
        yield survives


def _pass(clone: Path, tests: Sequence[str], limit_s: float | None) -> bool:
    """Whether the tests pass, within a limit; without one bytecode is written, of the code as it is."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(clone, tests, limit_s is None))
    process.start()
    process.join(limit_s)
    if process.is_alive():
        os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
    return process.exitcode == 0


def _run(clone: Path, tests: Sequence[str], write_bytecode: bool) -> None:
    """Run the tests in this process, which leads a group of its own and says nothing."""
    os.setsid()
    os.chdir(clone)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    sys.dont_write_bytecode = not write_bytecode
    sys.path[0] = str(clone)
    os._exit(pytest.main([*_OPTIONS, *tests]))


if __name__ == "__main__":
    main()
