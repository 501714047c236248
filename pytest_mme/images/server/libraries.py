"""Run while the image is built: extracts only TensorFlow's two shared libraries from its wheel."""

import sys
import zipfile
from pathlib import Path

LIBRARIES = ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2")


def main(wheels: str, target: str) -> None:
    """Extract them from the one wheel in the folder *wheels* into the folder *target*."""
    (wheel,) = Path(wheels).glob("*.whl")
    folder = Path(target)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in LIBRARIES:
            with archive.open(f"tensorflow/{name}") as source, (folder / name).open("wb") as sink:
                while block := source.read(2**20):
                    sink.write(block)
            (folder / name).chmod(0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])
