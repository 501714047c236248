"""What an image is built from."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from pytest_mme.images.context import CA_BUNDLE, as_tar, context, digest, image_names

IMPORT_IT = """
import importlib, pkgutil
from pytest_mme import serving
for one in pkgutil.walk_packages(serving.__path__, f"{serving.__name__}."):
    importlib.import_module(one.name)
print(serving.__file__)
"""


def test_the_packaged_parts_import_no_other_part_of_the_package(tmp_path: Path) -> None:
    with tarfile.open(fileobj=as_tar(context("server"))) as tar:
        tar.extractall(tmp_path)
    done = subprocess.run([sys.executable, "-c", IMPORT_IT], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)


@pytest.mark.parametrize("image", image_names())
def test_a_context_has_the_images_files_and_the_code(image: str) -> None:
    found = context(image)
    assert {"Dockerfile", "requirements.txt", CA_BUNDLE, "pytest_mme/serving/container.py"} <= set(found)
    assert not [name for name in found if "__pycache__" in name]


def test_every_file_and_argument_changes_the_digest() -> None:
    files, arguments = {"Dockerfile": b"FROM a", "more": b"1"}, {"BASE": "debian"}
    others = (
        ({**files, "more": b"2"}, arguments),
        ({**files, "another": b""}, arguments),
        ({"Dockerfile": b"FROM a"}, arguments),
        (files, {"BASE": "ubuntu"}),
    )
    digests = {digest(files, arguments), *(digest(*other) for other in others)}
    assert len(digests) == 1 + len(others)


def test_the_certificates_do_not_change_the_digest(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("a certificate")
    with_it = context("server", ca_bundle=bundle)
    assert with_it[CA_BUNDLE] == b"a certificate"
    assert digest(with_it, {}) == digest(context("server"), {})


def test_the_order_of_files_does_not_change_the_digest() -> None:
    assert digest({"a": b"1", "b": b"2"}, {}) == digest({"b": b"2", "a": b"1"}, {})
