"""The product is the wheel: build it, see that it holds every file, install it elsewhere and run the README's first test.

`python tools/installed_wheel.py` does that for each Python that pytest-mme supports and that uv finds here or can fetch,
each in a fresh environment outside the checkout, with an empty cache. It names the Pythons that it could not have. Fails
when a file is missing or a test fails, and when not even the Python that runs it could be tried.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
EXAMPLE = ROOT / "tests" / "examples" / "test_eviction.py"
UV = (sys.executable, "-m", "uv", "--quiet")


def main() -> int:
    """The exit status: the number of Pythons on which the first test failed."""
    with tempfile.TemporaryDirectory(prefix="mme-wheel-") as folder:
        wheel = build(Path(folder, "dist"))
        outcomes = {version: tried(version, wheel, Path(folder, version)) for version in PYTHONS}
    for version, outcome in outcomes.items():
        print(f"Python {version}: {outcome}")
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    return sum(outcome == "FAILED" for outcome in outcomes.values()) + (outcomes.get(running) != "passed")


def build(folder: Path) -> Path:
    """Make the sdist and of it the wheel, which must hold what git holds of the package, and nothing else."""
    uv("build", "--out-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    tracked = subprocess.run(["git", "ls-files", "pytest_mme"], cwd=ROOT, check=True, capture_output=True, text=True)
    expected = set(tracked.stdout.split())
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    if expected != found:
        raise SystemExit(f"{wheel.name} lacks {sorted(expected - found)}, and has {sorted(found - expected)} too much")
    print(f"{wheel.name} holds all {len(found)} files of the package")
    return wheel


def tried(version: str, wheel: Path, folder: Path) -> str:
    """Install the wheel as the README says and run its first test, in words: 'passed', 'FAILED' or why not."""
    made = subprocess.run(
        [*UV, "venv", "--python", version, str(folder / "env")],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        return f"not run: uv found none here and could not fetch it ({' '.join(made.stderr.split())[-300:]})"
    python = folder / "env" / "bin" / "python"
    uv("pip", "install", "--python", str(python), f"{wheel}{extras()}")
    project = folder / "project"
    project.mkdir()
    shutil.copy(EXAMPLE, project)
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        [python, "-m", "pytest"], cwd=project, env={**clean, "PYTEST_MME_CACHE": str(folder / "cache")}, check=False
    )
    return "FAILED" if done.returncode else "passed"


def extras() -> str:
    """What the README's command, ``$ pip install 'pytest-mme[...]'``, asks for in brackets; empty if it has none."""
    found = re.search(r"^\$ pip install '?pytest-mme(\[[\w,-]+\])", (ROOT / "README.md").read_text(), re.MULTILINE)
    return found[1] if found else ""


def uv(*arguments: str) -> None:
    """Run uv, and fail if it fails."""
    subprocess.run([*UV, *arguments], env=environment(), check=True)


def environment() -> dict[str, str]:
    """With pyenv's Pythons on the PATH themselves: uv takes its stand-ins for broken Pythons."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return {
        **os.environ,
        "PATH": os.pathsep.join([*map(str, sorted(pyenv.glob("versions/3.*/bin"))), os.environ["PATH"]]),
    }


if __name__ == "__main__":
    sys.exit(main())
