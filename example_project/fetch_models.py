"""Fetch basic-pitch, the trained model that one test serves, from its wheel on PyPI (by Spotify, Apache-2.0).

Only the SavedModel is kept, in .models/basic-pitch; the package itself is not installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TARGET = Path(__file__).parent / ".models" / "basic-pitch"
INSIDE = "basic_pitch/saved_models/icassp_2022/nmp/"


def fetch(target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        download = ("-m", "pip", "download", "-qq", "--no-deps", "--only-binary", ":all:", "--dest", folder)
        subprocess.run([sys.executable, *download, "basic-pitch==0.4.0"], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.startswith(INSIDE)])
        shutil.move(Path(folder) / INSIDE, target)


if __name__ == "__main__":
    if not TARGET.exists():
        fetch(TARGET)
    print(f"basic-pitch is in {TARGET}")
