"""What an extra brings may be missing: then the extra is named, and nothing else suffers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_mme import Models
from pytest_mme.archives import checkpoint
from pytest_mme.archives.archive import extract
from pytest_mme.errors import UnavailableError
from pytest_mme.extras import needs
from pytest_mme.libtensorflow import protos, tensors
from pytest_mme.report import html, sections
from pytest_mme.runtimes.docker.engine import connect
from pytest_mme.timeline.events import Timeline

Lacking = Callable[[str], None]


@pytest.fixture
def lacks(monkeypatch: pytest.MonkeyPatch) -> Lacking:
    """Makes a package one that is not installed."""

    def hide(package: str) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)

    return hide


def expect(extra: str, package: str) -> pytest.RaisesExc[UnavailableError]:
    return pytest.raises(
        UnavailableError, match=rf"{package} is not installed\n  next: pip install 'pytest-mme\[{extra}\]'"
    )


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(UnavailableError) as missing, needs("docker", "a container engine"):
        import nowhere.at_all  # type: ignore[import-not-found]  # noqa: F401
    assert str(missing.value) == (
        "a container engine cannot be had here\n"
        "  seen: the package nowhere is not installed\n"
        "  next: pip install 'pytest-mme[docker]'"
    )


@pytest.mark.parametrize("package", ["jinja2", "plotly"])
def test_without_the_report_s_packages_there_is_no_page(lacks: Lacking, package: str) -> None:
    lacks(package)
    with expect("report", package):
        html.require()


def test_without_uniplot_a_failing_test_still_says_how_much_memory_was_used(lacks: Lacking) -> None:
    lacks("uniplot")
    timeline = Timeline()
    for used in (1, 3, 2):
        timeline.record("sample", source="server", detail={"used_bytes": used << 20})
    summary = sections.memory(list(timeline))
    assert summary.startswith("at most 3.0 MiB")
    assert summary.endswith("(a chart of it: pip install 'pytest-mme[report]')")


def test_without_docker_there_is_no_container_engine(lacks: Lacking) -> None:
    lacks("docker")
    with expect("docker", "docker"):
        connect()


def test_without_google_crc32c_no_checkpoint_is_checked(lacks: Lacking, mme_models: Models, tmp_path: Path) -> None:
    extract(mme_models.keras().archive, tmp_path / "model")
    lacks("google_crc32c")
    with expect("doctor", "google_crc32c"):
        checkpoint.check(tmp_path / "model" / "1" / "variables")


def test_without_cramjam_no_compressed_index_is_read(lacks: Lacking) -> None:
    lacks("cramjam")
    with expect("doctor", "cramjam"):
        checkpoint._decompressed(b"")


def test_without_ml_dtypes_bfloat16_is_a_type_that_numpy_does_not_have(lacks: Lacking) -> None:
    number = protos.data_type_number("DT_BFLOAT16")
    tensors.numpy_dtype.cache_clear()
    lacks("ml_dtypes")
    with pytest.raises(TypeError, match=r"pip install 'pytest-mme\[bfloat16\]'"):
        tensors.numpy_dtype(number)
