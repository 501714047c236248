"""Op libraries are compiled, loaded and refused as TensorFlow does it; each is loaded in a process of its own."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pytest_mme import versions
from pytest_mme.archives.archive import extract
from pytest_mme.archives.store import Store
from pytest_mme.errors import OpLibraryError, UnavailableError
from pytest_mme.libtensorflow.capi import installed_directory
from pytest_mme.libtensorflow.op_libraries import advice
from pytest_mme.libtensorflow.version_cache import VersionCache
from pytest_mme.libtensorflow.wheels import FRAMEWORK
from pytest_mme.models.builder import Model, Models
from pytest_mme.models.spec import CustomOp
from pytest_mme.models.writing import customop
from pytest_mme.models.writing.customop import Language, compile_op, compile_source
from pytest_mme.settings import Settings
from tests.lacking import lacking, needs_compiler
from tests.unit.models.conftest import QUIET, ROOT, InProcess

OTHERS = ("2.5.3", "2.12.1")  # other versions than the installed one, built with other strings and standards of C++
X = [[1.0], [-2.5], [0.1]]
ASK = """
import json, pathlib, sys
import numpy as np
from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel

directory, tensorflow, *op_libraries = map(pathlib.Path, sys.argv[1:])
library = Library(tensorflow)
try:
    for path in op_libraries:
        library.load_ops(path)
    model = SavedModel(library, directory)
    print("loaded", file=sys.stderr, flush=True)
    answers = [model.run({"x": np.array(x, np.float32).reshape(-1, 1)}) for x in (json.load(sys.stdin), [])]
    rows = zip(*(answers[0][name].tolist() for name in ("identity", "y")), strict=True)
    print(json.dumps([{"identity": identity.decode(), "y": y} for identity, y in rows]), answers[1]["y"].shape)
except TensorFlowError as error:
    print(type(error).__name__, error)
"""
FORK = """
import os, pathlib, sys
import numpy as np
from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel

directory, *op_libraries = map(pathlib.Path, sys.argv[1:])
library = Library()
for path in op_libraries:
    library.load_ops(path)
for _ in range(3):
    if (child := os.fork()) == 0:
        print(SavedModel(library, directory).run({"x": np.ones((1, 1), np.float32)})["y"].item(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
CustomOpModel = Callable[..., Model]
Ask = Callable[..., str]


@pytest.fixture(scope="module")
def custom_op(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CustomOpModel]:
    """Builds models with ops of their own; skips the test where the language cannot be compiled."""
    with Models(Store(tmp_path_factory.mktemp("store"))) as models:

        def custom_op(**keywords: Any) -> Model:
            try:
                return models.custom_op(**keywords)
            except UnavailableError as error:
                lacking(str(error))

        yield custom_op


def folder_of(version: str) -> Path:
    """Return the folder of that version of TensorFlow; skip the test where it cannot be had."""
    try:
        return VersionCache(Settings.resolve(environment=os.environ).cache.value / "tensorflow").directory(version)
    except UnavailableError as error:
        lacking(str(error))


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Loads op libraries and a model in a process of its own and calls it; returns its output, or how it ended."""

    def ask(model: Model, *op_libraries: Path, tensorflow: Path | None = None) -> str:
        folder = tmp_path / "unpacked" / model.archive.name
        if not folder.exists():
            extract(model.archive, folder)
        arguments = map(str, (folder / "1", tensorflow or installed_directory(), *op_libraries))
        ended = subprocess.run(
            [sys.executable, "-c", ASK, *arguments],
            cwd=ROOT,
            env={**os.environ, **QUIET},
            input=json.dumps(X),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if ended.returncode:
            return f"{ended.returncode}\n{ended.stderr}"
        return ended.stdout.strip()

    return ask


def right_answers(model: Model) -> str:
    known = [model.answer(x) for x in X]
    return f"{json.dumps([{'identity': answer.identity, 'y': answer.value} for answer in known])} (0, 1)"


def written(path: Path, source: str) -> Path:
    path.write_text(source)
    return path


def test_a_model_is_refused_without_its_library(custom_op: CustomOpModel, ask: Ask) -> None:
    output = ask(custom_op())
    assert output.startswith("TensorFlowError NOT_FOUND: Op type not registered 'MmeScale' in binary running on")


@pytest.mark.parametrize("language", ["c", "c++"])
def test_a_model_predicts_as_expected_with_its_library(custom_op: CustomOpModel, ask: Ask, language: Language) -> None:
    model = custom_op(op="Thrice", factor=3, language=language, weights_mib=1)
    (library,) = model.op_libraries
    assert ask(model, library) == right_answers(model)
    assert ask(model, library, library) == right_answers(model)  # loading it again changes nothing


def test_the_factor_of_the_library_is_in_the_expected_prediction(custom_op: CustomOpModel, ask: Ask) -> None:
    twice, half = custom_op(), custom_op(factor=0.5)
    assert twice.op_libraries != half.op_libraries
    output = ask(twice, *half.op_libraries)
    answered = json.loads(output.rpartition(" (")[0])
    assert answered == [twice.answer([number / 4 for number in x]) for x in X]  # it halves what should be doubled
    assert output != right_answers(twice)


def test_two_libraries_that_register_one_op_collide_in_one_process(custom_op: CustomOpModel, ask: Ask) -> None:
    twice, half = custom_op(), custom_op(factor=0.5)
    output = ask(twice, *twice.op_libraries, *half.op_libraries)
    assert output.startswith(
        "TensorFlowError INVALID_ARGUMENT: Multiple OpKernel registrations match NodeDef at the same"
    )


@pytest.mark.parametrize("language", ["c", "c++"])
def test_a_kernel_that_crashes_ends_the_process_that_calls_it(
    custom_op: CustomOpModel, ask: Ask, language: Language
) -> None:
    model = custom_op(crash=True, language=language)
    code, *output = ask(model, *model.op_libraries).splitlines()
    assert int(code) == -signal.SIGABRT
    assert "loaded" in output


def test_children_forked_after_the_load_can_use_the_op(
    custom_op: CustomOpModel, in_process: InProcess, tmp_path: Path
) -> None:
    model = custom_op()
    extract(model.archive, tmp_path / "unpacked")
    output = in_process("-c", FORK, tmp_path / "unpacked/1", *model.op_libraries)
    assert [float(line) for line in output.split()] == 3 * model.answer([1.0]).value


def test_a_library_in_c_works_with_other_versions(custom_op: CustomOpModel, ask: Ask) -> None:
    model, other = custom_op(), folder_of("2.12.1")
    assert custom_op(tensorflow=other).op_libraries == model.op_libraries
    assert ask(model, *model.op_libraries, tensorflow=other) == right_answers(model)


def test_tensorflow_2_5_lacks_the_c_api_of_ops(custom_op: CustomOpModel, ask: Ask) -> None:
    model = custom_op()
    output = ask(model, *model.op_libraries, tensorflow=folder_of("2.5.3"))
    assert "undefined symbol: TF_OpDefinitionBuilder" in output
    assert "next: TensorFlow 2.5.3, which serves here, does not have this part of the C API" in output


@pytest.mark.versions
@pytest.mark.parametrize("version", OTHERS)
def test_a_library_in_cpp_works_only_with_the_version_it_was_built_for(
    custom_op: CustomOpModel, ask: Ask, version: str
) -> None:
    other = folder_of(version)
    model = custom_op(language="c++", tensorflow=other)
    assert ask(model, *model.op_libraries, tensorflow=other) == right_answers(model)
    output = ask(model, *model.op_libraries)
    assert output.startswith("OpLibraryError TensorFlow did not load the op library")
    assert "undefined symbol: _Z" in output
    assert f"it was built for another TensorFlow than {versions.installed()}, which serves here" in output


UNDEFINED = """
void {0}(void);
void call_it(void) {{ {0}(); }}
"""


@needs_compiler
@pytest.mark.parametrize(
    ("symbol", "advised"),
    [
        ("_ZN10tensorflow8NoSuchOpEv", "built for another TensorFlow than"),
        ("TF_NoSuchFunction", "does not have this part of the C API"),
        ("no_such_function", "link it to the library that has the symbol"),
    ],
)
def test_a_missing_symbol_is_explained(
    custom_op: CustomOpModel, ask: Ask, tmp_path: Path, symbol: str, advised: str
) -> None:
    library = compile_source(written(tmp_path / "own.c", UNDEFINED.format(symbol)), tmp_path)
    output = ask(custom_op(), library)
    assert f"seen: NOT_FOUND: {library}: undefined symbol: {symbol}" in output
    assert advised in output.partition("next: ")[2]


def test_a_library_that_is_not_linked_to_tensorflow_is_refused_with_the_linker_flags(
    custom_op: CustomOpModel, ask: Ask, tmp_path: Path
) -> None:
    model, library = custom_op(), tmp_path / "unlinked.so"
    source = Path(customop.__file__).with_name("customop.c")
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    flags = ["-shared", "-fPIC", '-DMME_OP="MmeScale"', "-DMME_FACTOR=2.0f"]
    subprocess.run([compiler, *flags, source, "-o", library], check=True)
    output = ask(model, library)
    assert "undefined symbol: TF_" in output
    assert "link it with -Wl,--no-as-needed -L<TensorFlow's folder> -l:libtensorflow_framework.so.2" in output


@needs_compiler
@pytest.mark.parametrize("kind", ["no TensorFlow library", "no library", "a folder", "absent"])
def test_a_file_that_is_not_an_op_library_is_refused(
    custom_op: CustomOpModel, ask: Ask, tmp_path: Path, kind: str
) -> None:
    paths = {
        "no TensorFlow library": compile_source(written(tmp_path / "own.c", "int seven(void) { return 7; }"), tmp_path),
        "no library": written(tmp_path / "text.so", "no library"),
        "a folder": tmp_path,
        "absent": tmp_path / "absent.so",
    }
    advised = {
        "no TensorFlow library": "registers no operation and refers to no function of TensorFlow that could",
        "absent": "next: look at the path",
    }
    output = ask(custom_op(), paths[kind])
    assert output.startswith(f"OpLibraryError TensorFlow did not load the op library {paths[kind]}\n")
    assert advised.get(kind, "next: give a shared library (.so)") in output


def test_a_library_of_a_newer_system_or_without_its_own_libraries_is_explained() -> None:
    newer = "/own.so: /lib/libc.so.6: version `GLIBC_2.99' not found (required by /own.so)"
    assert "newer system, with GLIBC_2.99" in advice(Path(__file__), newer, "2.21.0")
    needed = "libown.so.1: cannot open shared object file: No such file or directory"
    assert "see what ldd says" in advice(Path(__file__), needed, "2.21.0")


def test_the_error_can_be_pickled() -> None:
    error = OpLibraryError("own.so", "NOT_FOUND", "seen", "advice")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.code, again.message) == (str(error), "NOT_FOUND", "seen: advice")


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Count how often the compiler ran."""
    compiler = shutil.which("cc")
    if compiler is None:
        lacking("there is no cc on the PATH")
    programs, count = tmp_path / "bin", tmp_path / "count"
    programs.mkdir()
    written(programs / "cc", f'#!/bin/sh\necho >> {count}\nexec {compiler} "$@"\n').chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    return lambda: len(count.read_text().splitlines())


def test_a_library_that_many_compile_at_once_is_compiled_once(counted: Callable[[], int], tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        libraries = list(pool.map(lambda _: compile_op(CustomOp(), tmp_path / "ops"), range(4)))
    assert counted() == 1
    assert {path.name for path in (tmp_path / "ops").iterdir()} == {libraries[0].name, "locks"}
    assert len(set(libraries)) == 1


def test_a_cached_library_needs_no_compiler_and_a_new_one_does(
    models: Models, custom_op: CustomOpModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    custom_op()  # there is a compiler
    model = models.custom_op()
    monkeypatch.setenv("PATH", "")
    assert models.custom_op() == model
    directory = model.op_libraries[0].parent
    for op, crash in ((CustomOp(factor=7), False), (CustomOp(name="Seven"), False), (CustomOp(), True)):
        with pytest.raises(
            UnavailableError, match=r"no C compiler was found on the PATH: cc, gcc, clang\n.*install gcc"
        ):
            compile_op(op, directory, crash=crash)
    with pytest.raises(UnavailableError, match=r"no C\+\+ compiler was found on the PATH: g\+\+, clang\+\+\n"):
        compile_op(CustomOp(factor=7), directory, language="c++")


def test_a_bad_source_is_refused_with_the_compilers_message(custom_op: CustomOpModel, tmp_path: Path) -> None:
    custom_op()  # there is a compiler
    source = written(tmp_path / "broken.c", "int seven(void) { return nothing_of_that_name; }")
    with pytest.raises(UnavailableError, match=r"(?s)broken\.c.*says:\n.*nothing_of_that_name.*undeclared"):
        compile_source(source, tmp_path / "ops")
    assert [path.name for path in (tmp_path / "ops").iterdir()] == ["locks"]


def test_cpp_without_headers_or_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"there is no {FRAMEWORK}"):
        compile_op(CustomOp(), tmp_path, language="c++", tensorflow=tmp_path)
    (tmp_path / FRAMEWORK).symlink_to(installed_directory() / FRAMEWORK)
    with pytest.raises(UnavailableError, match=r"there is no include/tensorflow/core/framework/op\.h"):
        compile_op(CustomOp(), tmp_path, language="c++", tensorflow=tmp_path / ".")


def test_other_languages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"language: seen 'rust'; allowed: c, c\+\+"):
        compile_op(CustomOp(), tmp_path, language="rust")  # type: ignore[arg-type]  # a user's slip
    with pytest.raises(ValueError, match=r"source: seen 'own\.rs'; allowed: a name that ends in \.c, \.cc, "):
        compile_source(tmp_path / "own.rs", tmp_path)
