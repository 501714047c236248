"""`pytest-mme image build`: progress, what is there already, what fails. With images of a few lines."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from typer.testing import CliRunner, Result

from pytest_mme import versions
from pytest_mme.cli import app
from pytest_mme.errors import OutdatedImageWarning, UnavailableError
from pytest_mme.images import build as images
from pytest_mme.images import context
from pytest_mme.images.context import code_digest
from tests.conftest import run_on

Build = Callable[..., Result]


@pytest.fixture
def version(engine: docker.DockerClient) -> Iterator[str]:
    """A TensorFlow that no other test's image has."""
    version = f"2.99.{uuid.uuid4().int % 10**9}"
    yield version
    for found in engine.images.list(name=images.tag("tiny", version)):
        engine.images.remove(str(found.id), force=True)


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_image: str, version: str) -> Build:
    """Builds an image `tiny` of these lines as the command does."""
    monkeypatch.setattr(context, "_IMAGES", tmp_path / "package" / "images")
    monkeypatch.setattr(context, "PACKAGED", ())
    folder = tmp_path / "package" / "images" / "tiny"
    folder.mkdir(parents=True)

    def run(*lines: str, options: tuple[str, ...] = ()) -> Result:
        dockerfile = ("ARG BASE", "FROM ${BASE}", "ARG TENSORFLOW", *lines)
        (folder / "Dockerfile").write_text("\n".join(dockerfile))
        command = ["image", "build", "tiny", "--tf", version, "--base", server_image, *options]
        return CliRunner().invoke(app, command, catch_exceptions=False, env={"COLUMNS": "200"})

    return run


def test_each_step_is_shown_and_the_name_at_the_end(build: Build, engine: docker.DockerClient, version: str) -> None:
    done = build("LABEL tiny=$TENSORFLOW")
    assert done.exit_code == 0
    *steps, last = done.output.splitlines()
    assert [step.split()[0] for step in steps] == [f"{number}/{len(steps)}" for number in range(1, len(steps) + 1)]
    assert any("LABEL tiny" in step for step in steps)
    assert last.startswith(f"pytest-mme-tiny:{version} built in ")
    assert engine.images.get(images.tag("tiny", version)).labels["tiny"] == version


def test_an_up_to_date_image_is_not_built_again(build: Build, engine: docker.DockerClient, version: str) -> None:
    build("LABEL tiny=1")
    before = engine.images.get(images.tag("tiny", version)).id
    again = build("LABEL tiny=1")
    assert again.output == f"pytest-mme-tiny:{version} is here already, and its contents have not changed\n"
    build("LABEL tiny=2")
    assert engine.images.get(images.tag("tiny", version)).id != before


def test_a_failing_step_is_shown_with_its_output(build: Build, version: str) -> None:
    done = build("RUN echo these were its words && exit 3")
    assert done.exit_code == 1
    assert f"the image pytest-mme-tiny:{version} could not be built" in done.output
    assert "these were its words" in done.output
    assert "returned a non-zero code: 3" in " ".join(done.output.split())


def test_a_missing_base_image_is_reported(build: Build) -> None:
    done = build(options=("--base", f"mme-test-absent-{uuid.uuid4().hex[:8]}"))
    assert done.exit_code == 1
    assert "no registry can be reached --base" in " ".join(done.output.split())


def test_an_invalid_name_is_reported(build: Build) -> None:
    done = build(options=("--base", "NO SUCH!"))
    assert done.exit_code == 1
    assert "could not be built" in done.output


def test_without_tensorflow_the_default_image_holds_the_default_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise UnavailableError("the installed TensorFlow", "there is none", "install one")

    monkeypatch.setattr(versions, "installed", none)
    assert images.default_image() == images.tag("server", versions.DEFAULT)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("image", "build", "nothing"), "choose one of mms, server"),
        (("image", "build", "server", "--tf", "a b"), "is not a version: give one as in 2.15.1"),
        (("image", "build", "server", "--tf", "2.4.4"), "is too old"),
        (("image", "build", "server", "--ca-bundle", "absent.pem"), "absent.pem is not a file"),
    ],
)
def test_bad_arguments_are_reported_before_anything_is_built(command: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(app, list(command), env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert message in done.output


def test_an_image_with_other_code_than_the_installed_warns(derived: Callable[..., str]) -> None:
    advice = pytest.warns(OutdatedImageWarning, match="pytest-mme image build server")
    with run_on(derived(f"LABEL {images.CODE}=other")) as run, advice, run.server() as server:
        server.ping()


def test_an_image_with_the_installed_code_does_not_warn(
    derived: Callable[..., str], recwarn: pytest.WarningsRecorder
) -> None:
    with run_on(derived(f"LABEL {images.CODE}={code_digest()}")) as run, run.server() as server:
        server.ping()
    assert not [one for one in recwarn if one.category is OutdatedImageWarning]


def test_the_kits_images_are_labelled_with_their_code(image: str, engine: docker.DockerClient) -> None:
    assert len(engine.images.get(image).labels[images.CODE]) == len(code_digest())
