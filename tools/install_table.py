"""Install the kit beside each TensorFlow, run the README's first test there, and write down what came of it.

An environment is made by uv with that TensorFlow alone; then pip installs the kit's wheel into it, as its users do. None
of what was there may change. The test runs outside the checkout, from an empty cache.

    python tools/install_table.py resolve             resolve every version in both forms, the newest and oldest of the rest
    python tools/install_table.py run [NAME ...]      install and run some of `TRIED` by name, or all; docs/installing.json
    python tools/install_table.py write               write the tables of docs/installing.md from docs/installing.json
    python tools/install_table.py --check NAME ...    install and run, write nothing; exit status 1 when one fails
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"
DATA, PAGE = ROOT / "docs" / "installing.json", ROOT / "docs" / "installing.md"
TEST = ROOT / "tests" / "examples" / "test_eviction.py"
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
    "none": Tried(tensorflow=""),
    "none-3.13": Tried(tensorflow="", python="3.13"),
}
"""What is tried, by name."""


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; 1 when something failed."""
    order, names = (arguments[0], list(arguments[1:])) if arguments else ("", [])
    if order == "resolve":
        _keep("resolved", [_resolved(form, version) for version in VERSIONS for form in FORMS])
    elif order in ("run", "--check") and set(names) <= TRIED.keys():
        rows = dict(_all_tried(names or [*TRIED]))
        if order == "run":
            known = {row["name"]: row for row in read().get("tried", ())} | rows
            _keep("tried", [known[name] for name in TRIED if name in known])
        return int(any(row["failed"] or row["changed"] for row in rows.values()))
    elif order != "write":
        print(__doc__)
        return 2
    _write()
    return 0


def read() -> dict[str, Any]:
    """What has been recorded."""
    found: dict[str, Any] = json.loads(DATA.read_text()) if DATA.exists() else {}
    return found


def _keep(part: str, rows: list[dict[str, Any]]) -> None:
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
        done = _done(command, asked=f"{form}=={version}")
        found[which] = {name: _version(done, name) for name in SHOWN}
    print(f"{form} {version} resolves: {found}")
    return {"form": form, "version": version, **found}


def _version(listed: str, name: str) -> str:
    version = re.search(rf"^{re.escape(name)}==(\S+)", listed, re.MULTILINE)
    return version[1] if version else ""


def _all_tried(names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    with tempfile.TemporaryDirectory(prefix="pytest-mme-install-") as folder:
        _done([*UV, "build", "--quiet", "--wheel", "--out-dir", folder, str(ROOT)])
        (wheel,) = Path(folder).glob("*.whl")
        for name in names:
            print(f"{name}: {TRIED[name]}", flush=True)
            with tempfile.TemporaryDirectory(dir=folder) as environment:
                row = _tried(TRIED[name], wheel, Path(environment))
            print("  " + "\n  ".join(f"{key}: {value}" for key, value in row.items()), flush=True)
            yield name, {"name": name, **row}


def _tried(tried: Tried, wheel: Path, folder: Path) -> dict[str, Any]:
    python = folder / "environment" / "bin" / "python"
    _done([*UV, "venv", "--quiet", "--python", _interpreter(tried.python), str(python.parents[1])])
    if tried.oldest:
        before = _installed(python, [tried.tensorflow, "--requirements", str(PROJECT), "--resolution=lowest-direct"])
    else:
        before = _installed(python, [tried.tensorflow]) if tried.tensorflow else {}
    _done([sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", str(wheel)])
    after = _frozen(python)
    row = {
        **dataclasses.asdict(tried),
        "changed": {name: [version, after.get(name)] for name, version in before.items() if after.get(name) != version},
        "versions": {name: after.get(name, "") for name in SHOWN},
    }
    return {**row, **_first_test(python, folder)}


def _interpreter(python: str) -> str:
    """pyenv's, where it has one; else uv finds or fetches it."""
    found = sorted(Path.home().glob(f".pyenv/versions/{python}.*/bin/python"))
    return str(found[-1]) if found else python


def _installed(python: Path, what: Sequence[str]) -> dict[str, str]:
    _done([*UV, "pip", "install", "--quiet", "--python", str(python), "--only-binary=:all:", *what])
    return _frozen(python)


def _frozen(python: Path) -> dict[str, str]:
    listed = json.loads(_done([*UV, "pip", "list", "--quiet", "--format=json", "--python", str(python)]))
    return {one["name"]: one["version"] for one in listed}


def _first_test(python: Path, folder: Path) -> dict[str, Any]:
    """Run the README's test in an empty project, with an empty cache."""
    project = folder / "project"
    project.mkdir()
    shutil.copy(TEST, project)
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


def _done(command: Sequence[str], asked: str | None = None) -> str:
    """What a command prints; it ends this program, with its own words, when it fails."""
    environment = {**os.environ, "UV_HTTP_TIMEOUT": "600"}
    done = subprocess.run(command, input=asked, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def tables(data: dict[str, Any]) -> dict[str, str]:
    """The tables of the page, each by the name of its place."""
    tried, resolved = data.get("tried", ()), data.get("resolved", ())
    return {"tried": _table(_rows_of_tried(tried)), "resolved": _table(_rows_of_resolved(resolved))}


def _rows_of_tried(rows: Sequence[dict[str, Any]]) -> Iterator[Sequence[str]]:
    yield ("installed before", "Python", "serves", *SHOWN, "the README's test")
    for row in rows:
        before = (row["tensorflow"] or "nothing").replace("==", " ")
        how = "failed" if row["failed"] else f"passed, {row['seconds']:.0f} s"
        changed = "".join(f"; changed {name} {old} to {new}" for name, (old, new) in row["changed"].items())
        oldest = " (the oldest of all)" if row["oldest"] else ""
        yield (before + oldest, row["python"], row["serving"], *row["versions"].values(), how + changed)


def _rows_of_resolved(rows: Sequence[dict[str, Any]]) -> Iterator[Sequence[str]]:
    yield ("TensorFlow", *SHOWN)
    for row in rows:
        pairs = zip(row["lowest-direct"].values(), row["highest"].values(), strict=True)
        yield (f"{row['form']} {row['version']}", *(old if old == new else f"{old} to {new}" for old, new in pairs))


def _table(rows: Iterator[Sequence[str]]) -> str:
    head, *others = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *others))


def _write() -> None:
    text = PAGE.read_text()
    for name, table in tables(read()).items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        with contextlib.suppress(ValueError):
            before, rest = text.split(begin)
            text = f"{before}{begin}{table}{end}{rest.split(end)[1]}"
    PAGE.write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
