"""Models with custom ops: served where their library is loaded, and nowhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_mme import Models, Run, Server
from pytest_mme.errors import ContractError, UnavailableError
from tests.conftest import IMAGES, run_on
from tests.lacking import lacking, needs_compiler

Servers = Callable[..., Server]


@pytest.fixture(params=["local", IMAGES[0]])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """On both runtimes that have the embedded server."""
    image = None if request.param == "local" else request.getfixturevalue("server_image")
    with run_on(image) as run:
        yield run


@needs_compiler
def test_a_custom_op_is_refused_without_its_library_and_served_with_it(run: Run) -> None:
    model = run.models.custom_op()
    with run.server() as server, pytest.raises(ContractError, match="Op type not registered 'MmeScale'"):
        server.load(model)
    with run.server(op_libraries=model.op_libraries) as server:
        server.load(model)
        assert server.invoke(model, [1.0]) == model.answer([1.0])


@needs_compiler
@pytest.mark.versions
@pytest.mark.mme(tf=["2.12.1", "2.15.1"])
def test_one_library_in_c_serves_all_versions(mme_server: Servers, mme_models: Models) -> None:
    model = mme_models.custom_op()
    server = mme_server(op_libraries=model.op_libraries)
    server.load(model)
    assert server.invoke(model, [1.0]) == model.answer([1.0])


def test_a_library_in_cpp_serves_only_the_version_that_it_was_built_for(
    mme_server: Servers, mme_models: Models
) -> None:
    try:
        model = mme_models.custom_op(language="c++")
    except UnavailableError as error:
        lacking(str(error))
    server = mme_server(op_libraries=model.op_libraries)
    server.load(model)
    assert server.invoke(model, [1.0]) == model.answer([1.0])
    with pytest.raises(ContractError, match=r"it was built for another TensorFlow than 2\.12\.1") as refused:
        mme_server(tf="2.12.1", op_libraries=model.op_libraries).load(model)
    assert "undefined symbol: _Z" in str(refused.value)


@needs_compiler
def test_a_crash_in_a_kernel_ends_its_own_model_only(mme_server: Servers, mme_models: Models) -> None:
    crashing, calm = mme_models.custom_op("crashing", crash=True), mme_models.linear("calm")
    server = mme_server(op_libraries=crashing.op_libraries)
    server.load(crashing)
    server.load(calm)
    with pytest.raises(ContractError):
        server.invoke(crashing, [1.0])
    assert server.invoke(calm, [1.0]) == calm.answer([1.0])
    (crash,) = [event for event in server.timeline if event.kind == "crash"]
    assert (crash.model, crash.outcome) == ("crashing", "SIGABRT")


@needs_compiler
def test_two_libraries_with_one_op_on_one_server_are_a_conflict_in_every_model(
    mme_server: Servers, mme_models: Models
) -> None:
    twice, thrice = (mme_models.custom_op(f"by-{factor:g}", factor=factor) for factor in (2.0, 3.0))
    server = mme_server(op_libraries=[*twice.op_libraries, *thrice.op_libraries])
    with pytest.raises(ContractError, match="Multiple OpKernel registrations"):
        server.load(twice)
    for model in (twice, thrice):
        alone = mme_server(op_libraries=model.op_libraries)
        alone.load(model)
        assert alone.invoke(model, [1.0]) == model.answer([1.0])


@needs_compiler
def test_two_archives_with_libraries_of_the_same_op_do_not_conflict(any_run: Run) -> None:
    run = any_run
    twice, thrice = (run.models.bundled(run.models.custom_op(f"by-{factor:g}", factor=factor)) for factor in (2.0, 3.0))
    assert twice.op_libraries == ()
    with run.server() as server:
        for model in (twice, thrice):
            server.load(model)
        for model in (twice, thrice):
            assert server.invoke(model, [1.0]) == model.answer([1.0])


def test_models_without_op_libraries_or_with_two_of_one_name_cannot_be_bundled(
    mme_models: Models, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="model has no op_libraries to bundle"):
        mme_models.bundled(mme_models.linear())
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ops.so").touch()
    alike = dataclasses.replace(mme_models.linear(), op_libraries=tuple(tmp_path.glob("*/ops.so")))
    with pytest.raises(ValueError, match=r"two have the same name, ops\.so, ops\.so"):
        mme_models.bundled(alike)


def test_an_invalid_library_in_an_archive_is_reported(mme_server: Servers, mme_models: Models, tmp_path: Path) -> None:
    library = tmp_path / "ops.so"
    library.write_text("no library")
    broken = mme_models.bundled(dataclasses.replace(mme_models.linear("broken"), op_libraries=(library,)))
    server = mme_server()
    with pytest.raises(ContractError, match=r"give a shared library \(\.so\)"):
        server.load(broken)
    calm = mme_models.linear("calm")
    server.load(calm)
    assert server.invoke(calm, [1.0]) == calm.answer([1.0])


def test_a_file_that_is_not_an_op_library_is_reported(mme_server: Servers, mme_models: Models, tmp_path: Path) -> None:
    library = tmp_path / "ops.so"
    library.write_text("no library")
    with pytest.raises(ContractError, match=r"give a shared library \(\.so\)"):
        mme_server(op_libraries=[library]).load(mme_models.linear())


@pytest.mark.parametrize("given", ["ops.so", ["absent.so"], [3], None])
def test_op_libraries_must_be_a_list_of_files(mme_server: Servers, given: object) -> None:
    with pytest.raises(ValueError, match=r"give a list of files that are there, as in model\.op_libraries"):
        mme_server(op_libraries=given)


@needs_compiler
def test_an_image_that_is_not_the_embedded_server_loads_none(mms_run: Run) -> None:
    model = mms_run.models.custom_op()
    with (
        pytest.raises(UnavailableError, match="build an image whose own server loads them"),
        mms_run.server(op_libraries=model.op_libraries),
    ):
        pass
