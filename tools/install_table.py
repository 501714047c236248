"""Install the kit's wheel beside each TensorFlow, run the README's first test there, and record the outcome.

uv makes an environment with that TensorFlow alone; then pip installs the wheel into it, as users do. The wheel must hold
every file of the package, and no package that was there before may change. The test runs outside the checkout, from an
empty cache.

    python -m tools.install_table resolve           resolve every version in both forms, with the newest and oldest of the rest
    python -m tools.install_table run [NAME ...]    install and run some of `TRIED` by name, or all, and record them
    python -m tools.install_table check NAME ...    install and run, and record nothing

The exit status is 1 when an installation or a test fails. A Python that uv neither finds nor can fetch is named, and is no
failure. The data are in docs/installing.json; `python -m tools.make_docs --write` makes the tables of them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tools.pages import first_block

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"
DATA = ROOT / "docs" / "installing.json"
UV = (sys.executable, "-m", "uv")
FORMS = ("tensorflow", "tensorflow-cpu")
VERSIONS = (
    *("2.12.1", "2.13.1", "2.14.1", "2.15.1", "2.16.2", "2.17.1", "2.18.1", "2.19.1", "2.20.0", "2.21.0"),
)  # the last release of each minor version
SHOWN = ("numpy", "protobuf", "typing-extensions", "boto3", "moto", "pytest")
PLATFORM = "x86_64-manylinux_2_28"
HEADER = re.compile(r"^mme: runtime local, tensorflow (.*), on the CPU", re.MULTILINE)
LEFT = ("PYTHONPATH", "VIRTUAL_ENV", "PYTEST_ADDOPTS")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
    """An environment to make."""

    tensorflow: str
    """What is installed before the kit, as in ``tensorflow==2.15.1``; empty: nothing."""
    python: str = "3.11"
    oldest: bool = False
    """With the oldest that the kit allows of all that it needs."""


TRIED = {
    "oldest": Tried(tensorflow="tensorflow-cpu==2.12.1", oldest=True),
    "oldest-3.10": Tried(tensorflow="tensorflow-cpu==2.12.1", python="3.10", oldest=True),
    **{version: Tried(tensorflow=f"tensorflow=={version}") for version in ("2.12.1", "2.15.1", "2.17.1", "2.19.1")},
    "middle": Tried(tensorflow="tensorflow-cpu==2.15.1"),
    **{
        f"{version}-cpu": Tried(tensorflow=f"tensorflow-cpu=={version}")
        for version in ("2.13.1", "2.14.1", "2.16.2", "2.18.1", "2.20.0")
    },
    "2.21.0": Tried(tensorflow="tensorflow==2.21.0"),
    "newest": Tried(tensorflow="tensorflow-cpu==2.21.0"),
    "newest-3.12": Tried(tensorflow="tensorflow-cpu==2.21.0", python="3.12"),
    "none": Tried(tensorflow=""),
    "none-3.13": Tried(tensorflow="", python="3.13"),
}
"""What is tried, by name."""


def main(arguments: Sequence[str]) -> int:
    """Do what is asked for; 1 when something failed."""
    order, names = (arguments[0], list(arguments[1:])) if arguments else ("", [])
    if order == "resolve":
        _record("resolved", [_resolved(form, version) for version in VERSIONS for form in FORMS])
    elif order in ("run", "check") and set(names) <= TRIED.keys():
        rows = dict(_all_tried(names or [*TRIED]))
        if order == "run":
            known = {row["name"]: row for row in read().get("tried", ())} | rows
            _record("tried", [known[name] for name in TRIED if name in known])
        return int(any(row["failed"] or row["changed"] for row in rows.values()))
    else:
        print(__doc__)
        return 2
    return 0


def read() -> dict[str, Any]:
    """What has been recorded."""
    found: dict[str, Any] = json.loads(DATA.read_text()) if DATA.exists() else {}
    return found


def _record(part: str, rows: list[dict[str, Any]]) -> None:
    DATA.write_text(json.dumps({**read(), part: rows}, indent=1) + "\n")


def _resolved(form: str, version: str) -> dict[str, Any]:
    """What uv resolves for a TensorFlow with the newest and with the oldest of what the kit allows."""
    found = {}
    for which in ("highest", "lowest-direct"):
        options = ("--resolution", which, "--python-version", "3.11", "--python-platform", PLATFORM, "--extra=all")
        command = [
            *UV,
            "pip",
            "compile",
            "-",
            str(PROJECT),
            *options,
            "--only-binary=:all:",
            "--no-annotate",
            "--quiet",
        ]
        done = _output_of(command, asked=f"{form}=={version}")
        found[which] = {name: _version(done, name) for name in SHOWN}
    print(f"{form} {version} resolves: {found}")
    return {"form": form, "version": version, **found}


def _version(listed: str, name: str) -> str:
    version = re.search(rf"^{re.escape(name)}==(\S+)", listed, re.MULTILINE)
    return version[1] if version else ""


def _all_tried(names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    with tempfile.TemporaryDirectory(prefix="pytest-mme-install-") as folder:
        wheel = _wheel(Path(folder))
        for name in names:
            print(f"{name}: {TRIED[name]}", flush=True)
            with tempfile.TemporaryDirectory(dir=folder) as environment:
                python = Path(environment, "environment", "bin", "python")
                if missing := _missing(TRIED[name].python, python):
                    print(f"  not run: {missing}", flush=True)
                    continue
                row = _tried(TRIED[name], wheel, python)
            print("  " + "\n  ".join(f"{key}: {value}" for key, value in row.items()), flush=True)
            yield name, {"name": name, **row}


def _wheel(folder: Path) -> Path:
    """Build the sdist and from it the wheel, which must hold what git holds of the package, and nothing else."""
    _output_of([*UV, "build", "--quiet", "--out-dir", str(folder), str(ROOT)])
    (wheel,) = folder.glob("*.whl")
    tracked = set(_output_of(["git", "-C", str(ROOT), "ls-files", "pytest_mme"]).split())
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    if tracked != packed:
        sys.exit(
            f"{wheel.name} lacks {sorted(tracked - packed)} and has {sorted(packed - tracked)}, which git does not"
        )
    print(f"{wheel.name} holds the {len(packed)} files of the package", flush=True)
    return wheel


def _missing(version: str, python: Path) -> str:
    """Make an empty environment with this version of Python; the reason when there is none. pyenv's goes first."""
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    chosen = str(found[-1]) if found else version
    command = [*UV, "venv", "--quiet", "--python", chosen, str(python.parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return " ".join(done.stderr.split())[-300:] if done.returncode else ""


def _tried(tried: Tried, wheel: Path, python: Path) -> dict[str, Any]:
    if tried.oldest:
        before = _installed(python, [tried.tensorflow, "--requirements", str(PROJECT), "--resolution=lowest-direct"])
    else:
        before = _installed(python, [tried.tensorflow]) if tried.tensorflow else {}
    _output_of([sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", str(wheel)])
    after = _frozen(python)
    row = {
        **dataclasses.asdict(tried),
        "changed": {name: [version, after.get(name)] for name, version in before.items() if after.get(name) != version},
        "versions": {name: after.get(name, "") for name in SHOWN},
    }
    return {**row, **_first_test(python)}


def _installed(python: Path, what: Sequence[str]) -> dict[str, str]:
    _output_of([*UV, "pip", "install", "--quiet", "--python", str(python), "--only-binary=:all:", *what])
    return _frozen(python)


def _frozen(python: Path) -> dict[str, str]:
    listed = json.loads(_output_of([*UV, "pip", "list", "--quiet", "--format=json", "--python", str(python)]))
    return {one["name"]: one["version"] for one in listed}


def _first_test(python: Path) -> dict[str, Any]:
    """Run the README's test in an empty project, with an empty cache."""
    folder = python.parents[2]
    project = folder / "project"
    project.mkdir()
    (project / "test_readme.py").write_text(first_block(ROOT / "README.md"))
    environment = {name: value for name, value in os.environ.items() if name not in LEFT and "MME" not in name}
    began = time.monotonic()
    done = subprocess.run(
        [str(python), "-m", "pytest", "--color=no"],
        cwd=project,
        env={**environment, "XDG_CACHE_HOME": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    serving = HEADER.search(done.stdout)
    return {
        "serving": serving[1] if serving else "",
        "seconds": round(time.monotonic() - began, 1),
        "failed": "" if done.returncode == 0 and "1 passed" in done.stdout else done.stdout[-4000:],
    }


def _output_of(command: Sequence[str], asked: str | None = None) -> str:
    """What a command prints; when it fails, so does this program, with its output."""
    environment = {**os.environ, "UV_HTTP_TIMEOUT": "600"}
    done = subprocess.run(command, input=asked, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return done.stdout


TRIED_COLUMNS = ("installed before", "Python", "serves", *SHOWN, "the README's test")
RESOLVED_COLUMNS = ("TensorFlow", *SHOWN)


def tried_rows() -> Iterator[Sequence[str]]:
    """What was installed and tried, as docs/installing.md shows it."""
    for row in read()["tried"]:
        before = (row["tensorflow"] or "nothing").replace("==", " ")
        how = "failed" if row["failed"] else f"passed, {row['seconds']:.0f} s"
        changed = "".join(f"; changed {name} {old} to {new}" for name, (old, new) in row["changed"].items())
        oldest = " (the oldest of all)" if row["oldest"] else ""
        yield (before + oldest, row["python"], row["serving"], *row["versions"].values(), how + changed)


def resolved_rows() -> Iterator[Sequence[str]]:
    """What uv resolves, as docs/installing.md shows it."""
    for row in read()["resolved"]:
        pairs = zip(row["lowest-direct"].values(), row["highest"].values(), strict=True)
        yield (f"{row['form']} {row['version']}", *(old if old == new else f"{old} to {new}" for old, new in pairs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
