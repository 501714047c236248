"""Models saved by other versions of TensorFlow, each in an environment of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pytest_mme import Settings, versions
from pytest_mme.archives.archive import extract
from pytest_mme.archives.store import Store
from pytest_mme.errors import BuildError, UnavailableError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.version_cache import VersionCache
from pytest_mme.models.builder import Model, Models
from pytest_mme.models.exporting import environments as exporters_module
from pytest_mme.models.exporting.environments import Exporter, Exporters
from pytest_mme.models.exporting.process import TensorFlowProcess
from pytest_mme.models.spec import ModelSpec
from pytest_mme.models.writing.saved_model import write
from tests.lacking import lacking
from tests.unit.models.conftest import ROOT, Run, ask

OLD, NEWER = "2.12.1", "2.15.1"
OTHERS = [pytest.param(version, marks=pytest.mark.versions) for version in (OLD, NEWER)]
INPUTS: dict[str, Any] = {"text": ["hello", "Grüße"], "keras": [[1.0], [-2.5]]}
NUMBERS = [[1.0, 2.0], [-2.5, 0.0]]
OWN = f"3.{sys.version_info.minor}"
MISSING = "tensorflow-cpu==2.99.1 has no wheels. No solution found when resolving dependencies"


@pytest.fixture(scope="module")
def exporters(mme_settings: Settings) -> Exporters:
    """The exporters of the run's cache, which are kept for later runs: an environment takes 1 to 2 GB."""
    return Exporters(mme_settings.cache.value)


@pytest.fixture(scope="module", params=[*OTHERS, "installed"])
def exporter(request: pytest.FixtureRequest, exporters: Exporters) -> Exporter:
    """The versions that the tests save models with, one after the other."""
    try:
        return exporters.exporter(request.param)
    except UnavailableError as error:
        lacking(str(error))


@pytest.fixture(scope="module")
def builder(exporters: Exporters, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """A builder that starts each version once."""
    with Models(Store(tmp_path_factory.mktemp("saved") / "models"), exporters=exporters) as models:
        yield models


@pytest.fixture(params=["installed", OTHERS[0]])
def loader(request: pytest.FixtureRequest, mme_settings: Settings) -> str:
    """The folder of the TensorFlow whose C++ loader loads what was saved."""
    try:
        return str(VersionCache(mme_settings.cache.value / "tensorflow").directory(request.param))
    except UnavailableError as error:
        lacking(str(error))


def saved_models(model: Model, folder: Path) -> list[Any]:
    """Return the `SavedModel` messages of a model's versions."""
    extract(model.archive, folder)
    return [protos.SavedModel.FromString(path.read_bytes()) for path in sorted(folder.glob("*/saved_model.pb"))]


@pytest.mark.parametrize("kind", ["linear", "counter", "text", "keras"])
def test_each_kind_predicts_in_an_old_and_in_the_installed_tensorflow(
    builder: Models, exporter: Exporter, loader: str, run_model: Run, kind: str
) -> None:
    model: Model = getattr(builder, kind)(saved_by=exporter.tensorflow)
    first, second = INPUTS.get(kind, NUMBERS)
    calls = run_model(model, calls=[ask(first), ask(second, first)], tensorflow=loader)["calls"]
    before = [sum(first), sum(first) + sum(second)] if kind == "counter" else [0.0, 0.0]
    assert calls[0]["predictions"] == [model.answer(first)]
    assert calls[1]["predictions"] == [
        model.answer(second, before=before[0]),
        model.answer(first, before=before[1]),
    ]


@pytest.mark.parametrize("kind", ["linear", "keras"])
def test_the_saved_model_declares_the_tensorflow_that_saved_it(
    builder: Models, exporter: Exporter, tmp_path: Path, kind: str
) -> None:
    model: Model = getattr(builder, kind)(saved_by=exporter.tensorflow)
    (saved,) = saved_models(model, tmp_path / "m")
    assert saved.meta_graphs[0].meta_info_def.tensorflow_version == exporter.tensorflow


def test_keras_models_are_saved_by_the_keras_of_that_tensorflow(
    builder: Models, exporter: Exporter, tmp_path: Path
) -> None:
    (saved,) = saved_models(builder.keras(saved_by=exporter.tensorflow), tmp_path / "m")
    release = tuple(map(int, exporter.tensorflow.split(".")[:2]))
    assert exporter.keras.startswith("2." if release < (2, 16) else "3.")
    signatures = set(saved.meta_graphs[0].signature_def) - {"__saved_model_init_op"}
    assert signatures == ({"serving_default"} if release < (2, 13) else {"serve", "serving_default"})


def test_weights_versions_signatures_and_code_are_the_same_by_any_exporter(
    builder: Models, exporter: Exporter, run_model: Run, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"versions": (1, 3), "signatures": ("serving_default", "other"), "handler": "# theirs"}
    model = builder.linear(weights_mib=48, saved_by=exporter.tensorflow, **fields)
    asked = [ask([1.0]), ask([1.0], signature="other")]
    seen = run_model(model, version=3, calls=asked, environment={"TF_ENABLE_ONEDNN_OPTS": "0"})
    (plain,), (other,) = (call["predictions"] for call in seen["calls"])
    assert (plain, other) == (model.answer([1.0]), model.answer([1.0], signature="other"))
    assert seen["loaded_bytes"] >= 48 << 20
    assert model.archive.stat().st_size < 1 << 20
    assert (tmp_path / "unpacked" / model.name / "code" / "inference.py").read_text() == "# theirs"


def test_a_cached_model_is_not_saved_again(builder: Models, exporter: Exporter) -> None:
    before = builder.linear(saved_by=exporter.tensorflow), builder.keras(saved_by=exporter.tensorflow)
    with Models(builder.store, exporters=builder.exporters) as again:
        assert (again.linear(saved_by=exporter.tensorflow), again.keras(saved_by=exporter.tensorflow)) == before
        assert (again._others, "_tensorflow" in vars(again)) == ({}, False)


def test_a_cached_model_needs_no_environment(builder: Models, exporter: Exporter, tmp_path: Path) -> None:
    before = builder.keras(saved_by=exporter.tensorflow)
    with Models(builder.store, exporters=Exporters(tmp_path)) as elsewhere:
        assert elsewhere.keras(saved_by=exporter.tensorflow) == before
    assert not (tmp_path / "exporters").exists()


class SweptStore(Store):
    """A store from which another process drops an archive just after it was found there."""

    swept = False

    def __contains__(self, key: str) -> bool:
        there, self.swept = not self.swept or super().__contains__(key), True
        return there


def test_a_model_that_is_pruned_while_it_is_built_is_saved_again(tmp_path: Path, exporters: Exporters) -> None:
    with Models(SweptStore(tmp_path / "models"), exporters=exporters) as models:
        (saved,) = saved_models(models.linear(saved_by="installed"), tmp_path / "m")
    assert saved.meta_graphs[0].meta_info_def.tensorflow_version == versions.installed()


def test_the_identity_depends_on_the_exporter(builder: Models, exporter: Exporter) -> None:
    saved, written = builder.fleet(2, saved_by=exporter.tensorflow)[0], builder.linear("model-0")
    assert saved.key == written.key
    assert saved.archive != written.archive
    assert saved.answer([1.0]) != written.answer([1.0])


@pytest.mark.parametrize("exporter", OTHERS[:1], indirect=True)
def test_the_other_environment_sees_nothing_of_this_one(builder: Models, exporter: Exporter) -> None:
    assert exporter.python
    builder.text("seen", saved_by=exporter.tensorflow)
    process = builder._others[exporter.tensorflow]
    printed = subprocess.run(
        [
            str(exporter.python),
            "-c",
            "import json, numpy, sys, pytest_mme; print(json.dumps([sys.path, numpy.__file__]))",
        ],
        env=process._environment(),
        cwd=process.directory,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    path, numpy = json.loads(printed)
    assert str(ROOT) not in path
    assert Path(numpy).is_relative_to(exporter.python.parents[1])


def test_the_saving_process_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "pytest_mme").symlink_to(ROOT / "pytest_mme")
    command = [sys.executable, "-S", "-c", "import pytest_mme.models.exporting.build"]
    subprocess.run(command, check=True, env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path)


def test_an_exported_model_is_not_written_directly(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can only be saved by TensorFlow's Python package"):
        write(ModelSpec(name="m", saved_by=NEWER), tmp_path)


UV = """#!/bin/sh
for last; do :; done
echo "$@" >>"$ASKED"
case "$1" in
  venv) mkdir -p "$last/bin" && ln -s "$FAKE" "$last/bin/python";;
  pip) echo "$SAID"; test -z "$SAID";;
esac
"""
PYTHON = """#!/bin/sh
echo '{"keras": "9.9.9"}'
test -z "$BROKEN" || { echo "ImportError: no luck" >&2; exit 1; }
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The calls of a false `uv`, a line each; the environments that it makes have a false Python."""
    (tmp_path / "bin").mkdir()
    for name, script in {"uv": UV, "false-python": PYTHON}.items():
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    variables = {"ASKED": tmp_path / "asked", "FAKE": tmp_path / "bin" / "false-python", "SAID": "", "BROKEN": ""}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    (tmp_path / "asked").touch()
    return tmp_path / "asked"


@pytest.fixture
def made(tmp_path: Path) -> Exporters:
    """Exporters that make environments in the test's own cache."""
    return Exporters(tmp_path / "cache")


def test_uv_makes_environments_where_it_is_installed(asked: Path, made: Exporters, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "exporters" / f"2.99.1-py{OWN}"
    exporter = made.exporter("2.99.1")
    assert exporter == Exporter(tensorflow="2.99.1", keras="9.9.9", python=folder / "bin" / "python")
    assert asked.read_text().splitlines() == [
        f"venv --python {sys.executable} {folder}",
        f"pip install --python {folder}/bin/python --only-binary=:all: tensorflow-cpu==2.99.1",
    ]
    assert Exporters(tmp_path / "cache").exporter("2.99.1") == exporter
    assert len(asked.read_text().splitlines()) == 2


@pytest.mark.usefixtures("asked")
def test_progress_names_each_step(tmp_path: Path) -> None:
    steps: list[str] = []
    Exporters(tmp_path, progress=steps.append).exporter("2.99.1")
    assert len(steps) == 3
    assert all("2.99.1" in one for one in steps)


def test_processes_that_need_an_environment_at_once_share_one(asked: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: Exporters(tmp_path / "cache").exporter("2.99.1"), range(4)))
    assert found == found[:1] * 4
    assert len(asked.read_text().splitlines()) == 2


@pytest.mark.usefixtures("asked")
def test_an_environment_that_is_unfinished_or_lost_its_python_is_made_again(made: Exporters, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "exporters" / f"2.99.1-py{OWN}"
    (folder / "bin").mkdir(parents=True)
    (folder / "half").touch()
    python = made.exporter("2.99.1").python
    assert python
    assert not (folder / "half").exists()
    python.unlink()
    python.symlink_to("nowhere")
    assert Exporters(tmp_path / "cache").exporter("2.99.1").python == python
    assert python.exists()


def test_an_old_release_gets_the_pins_that_it_lacks(
    asked: Path, made: Exporters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporters_module, "_interpreter", lambda _version: (10, sys.executable))
    for version, beside in (("2.8.4", "protobuf<3.20 numpy<2"), ("2.15.0", "numpy<2")):
        made.exporter(version)
        assert asked.read_text().endswith(f"--only-binary=:all: tensorflow-cpu=={version} {beside}\n")


@pytest.mark.parametrize(("output", "times"), [(MISSING, 2), ("error: Request failed\n  cause: dns error", 1)])
def test_a_failed_installation_is_an_error_and_leaves_nothing(
    asked: Path, made: Exporters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, times: int
) -> None:
    monkeypatch.setenv("SAID", output)
    with pytest.raises(UnavailableError, match=output.split()[-1]):
        made.exporter("2.99.1")
    assert asked.read_text().count("pip install") == times
    assert [path.name for path in (tmp_path / "cache" / "exporters").iterdir()] == ["2.99.1.lock"]


@pytest.mark.usefixtures("asked")
def test_a_failed_import_is_an_error(made: Exporters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKEN", "yes")
    with pytest.raises(UnavailableError, match="installed, but cannot be imported: ImportError: no luck"):
        made.exporter("2.99.1")


def test_an_unreachable_index_is_an_error(made: Exporters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without uv, venv and pip make the environment."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match=r"package of TensorFlow 2.99.1(?s:.*)refused(?s:.*)pip"):
        made.exporter("2.99.1")


@pytest.fixture
def no_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no Python be found on this machine."""
    monkeypatch.setattr(exporters_module, "_pythons", lambda _minor: iter(()))


@pytest.mark.parametrize(
    ("version", "needs"), [("2.11.1", "3.10 to 3.10;"), ("2.12.1", "3.10 to 3.11;"), ("2.21.0", "3.10 to 3.13;")]
)
@pytest.mark.usefixtures("no_pythons")
def test_a_missing_python_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, needs: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(versions, "installed", lambda: "2.98.0")
    with pytest.raises(UnavailableError, match=f"package of TensorFlow {version}(?s:.*)needs Python {needs}"):
        Models(Store(tmp_path / "models")).linear(saved_by=version)


@pytest.mark.usefixtures("no_pythons")
def test_uv_is_given_the_version_of_a_missing_python(asked: Path, made: Exporters) -> None:
    made.exporter("2.12.0")
    assert asked.read_text().startswith("venv --python 3.11 ")


def test_a_release_without_a_common_python_is_refused(made: Exporters) -> None:
    with pytest.raises(UnavailableError, match=r"needs Python 3.9 or older(?s:.*)choose 2.8 or later"):
        made.exporter("2.7.4")


def test_pythons_are_found_on_the_path_and_in_pyenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = {
        "a": "exit 127",
        "b": "exit 0",
        "pyenv/versions/3.99.0/bin": "exit 0",
        "pyenv/versions/3.9.0/bin": "exit 0",
    }
    for folder, script in scripts.items():
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "python3.99").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / folder / "python3.99").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'a'}:{tmp_path / 'b'}:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    found = [str(Path(python).relative_to(tmp_path).parent) for python in exporters_module._pythons(99)]
    assert found == ["b", "pyenv/versions/3.99.0/bin"]


def test_this_python_is_the_first_choice() -> None:
    assert exporters_module._interpreter("2.99.1") == (sys.version_info.minor, sys.executable)


def test_a_saving_process_that_fails_is_a_build_error(tmp_path: Path) -> None:
    with (
        contextlib.closing(TensorFlowProcess(tmp_path, Path("/bin/false"))) as process,
        pytest.raises(BuildError, match="did not start: it ended with exit code 1"),
    ):
        process.build([], tmp_path)
