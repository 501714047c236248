"""`python -m tools.mutants ROOM`: change the code of a room in one place after the other, and see that a test notices.

cosmic-ray makes the changes, in a clone of HEAD, and runs the tests that hold the room. All of a room takes hours:
`--sample` takes so many of them, at random. Exits with 1 when fewer than the room's aim are noticed.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import shlex
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_CONFIG = """
[cosmic-ray]
module-path = {modules}
timeout = {timeout_s}
excluded-modules = []
test-command = {command!r}
[cosmic-ray.distributor]
name = "local"
[cosmic-ray.filters.operators-filter]
exclude-operators = {meaningless}
"""
_MEANINGLESS = [
    ".*BitOr.*",  # types
    ".*Mul_Div",  # the star in a signature
    ".*BinaryOperator_.*_(Pow|Mod|FloorDiv|LShift|RShift|BitAnd|BitXor)",  # caught by any test that runs the line
    ".*ComparisonOperator_(Is|IsNot)_(Lt|LtE|Gt|GtE|Eq|NotEq)",
    ".*ComparisonOperator_.*_(Is|IsNot)",
    "core/RemoveDecorator",
]
_TIMEOUT_S = 300


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
    "serving": Room(("serving/table", "serving/memory"), ("unit/serving", "local/test_contract.py"), 0.85),
    "doctor": Room(("doctor",), ("unit/doctor",), 0.85),
    "traffic": Room(("traffic",), ("unit/traffic", "local/test_traffic.py"), 0.85),
    "faults": Room(("faults",), ("unit/faults", "local/test_faults.py"), 0.85),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("room", choices=ROOMS)
    parser.add_argument("--sample", type=int, metavar="N", help="take N changes, at random (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another sample (default: 0)")
    asked = parser.parse_args()
    room = ROOMS[asked.room]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        clone, session = Path(folder) / "clone", Path(folder) / "session.sqlite"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        (clone / "mutants.toml").write_text(_config(room))
        _run(clone, "cosmic-ray", "baseline", "mutants.toml")
        _run(clone, "cosmic-ray", "init", "mutants.toml", str(session))
        _run(clone, "cr-filter-operators", str(session), "mutants.toml")
        number = _keep(session, asked.sample, asked.seed)
        if not number:
            parser.error("there is nothing to change: ask for a larger --sample")
        print(f"{number} changes to {', '.join(room.modules)}; each runs {', '.join(room.tests)}", flush=True)
        _run(clone, "cosmic-ray", "exec", "mutants.toml", str(session))
        survivors = _survivors(session)
    print(*survivors, sep="\n")
    noticed = 1 - len(survivors) / number
    print(f"{asked.room}: {noticed:.1%} of {number} changes were noticed; the aim is {room.aim:.0%}")
    sys.exit(noticed < room.aim)


def _keep(session: Path, sample: int | None, seed: int) -> int:
    """Leave so many of the changes that the filter has left, and return how many there are."""
    with sqlite3.connect(session) as database:
        jobs = [job for (job,) in database.execute("select job_id from work_items order by job_id")]
        done = {job for (job,) in database.execute("select job_id from work_results")}
        left = [job for job in jobs if job not in done]
        kept = left if sample is None else random.Random(seed).sample(left, min(sample, len(left)))
        gone = [(job,) for job in {*jobs} - {*kept}]
        for table in ("work_results", "mutation_specs", "work_items"):
            database.executemany(f"delete from {table} where job_id = ?", gone)
    return len(kept)


def _survivors(session: Path) -> list[str]:
    """The changes that no test noticed: where they were, and what they were."""
    query = """
        select module_path, start_pos_row, operator_name, diff
        from work_results join mutation_specs using (job_id)
        where test_outcome = 'SURVIVED' order by module_path, start_pos_row
    """
    with sqlite3.connect(session) as database:
        found = list(database.execute(query))
    return [f"{path}:{row} {operator}: {_changed(diff)}" for path, row, operator, diff in found]


def _changed(diff: str) -> str:
    """The line as it became."""
    return next((line[1:].strip() for line in diff.splitlines() if line.startswith("+") and line[1:2] != "+"), "")


def _config(room: Room) -> str:
    tests = (f"tests/{name}" for name in room.tests)
    command = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-qx",
        "-n0",
        "-pno:cacheprovider",
        *tests,
        "-m",
        "not stress and not slow",
    ]
    modules = [f"pytest_mme/{name}" for name in room.modules]
    return _CONFIG.format(
        modules=modules, timeout_s=float(_TIMEOUT_S), command=shlex.join(command), meaningless=_MEANINGLESS
    )


def _run(clone: Path, program: str, *arguments: str) -> None:
    subprocess.run(
        [Path(sys.executable).parent / program, *arguments], cwd=clone, check=True, stdout=subprocess.DEVNULL
    )


if __name__ == "__main__":
    main()
