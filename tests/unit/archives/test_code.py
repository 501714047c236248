"""The user's code as files."""

from __future__ import annotations

from pathlib import Path

from pytest_mme.archives.code import files_of, write_code


def test_a_folder_is_taken_without_pythons_caches(tmp_path: Path) -> None:
    for name in ("inference.py", "lib/helper.py", "__pycache__/inference.cpython-311.pyc", "lib/__pycache__/x.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [name for name, _ in files_of(tmp_path)] == ["inference.py", "lib/helper.py"]


def test_a_text_a_file_and_a_folder_give_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "inference.py").write_text("pass")
    assert files_of("pass") == files_of(tmp_path / "inference.py") == files_of(tmp_path)
    write_code(files_of("pass"), tmp_path / "model")
    assert (tmp_path / "model" / "code" / "inference.py").read_text() == "pass"
