"""Op libraries, compiled here. In C one library works with every TensorFlow from 2.6 on, in C++ with one version.

Measured with gcc 12, two cores, 2.5 to 2.21: in C 0.3 s and 16 kB, in C++ 3 to 5 s, 0.6 GB of memory and 26 kB.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import mmap
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import filelock

from pytest_mme.errors import UnavailableError, shown
from pytest_mme.libtensorflow.capi import installed_directory
from pytest_mme.libtensorflow.wheels import FRAMEWORK
from pytest_mme.models.spec import CustomOp

Language = Literal["c", "c++"]

_SOURCES = {"c": Path(__file__).with_name("customop.c"), "c++": Path(__file__).with_name("customop.cc")}
_MESSAGE_CHARACTERS = 4000
log = logging.getLogger("pytest_mme")

# The flags that a TensorFlow was built with show in the names of its symbols (read in 2.5 to 2.21): the old strings of
# libstdc++ in `OpDefBuilder::Input(std::string)`, up to 2.8; C++17's own string_view, not abseil's, in
# `OpKernelContext::input(string_view, …)`, after 2.9.
_OLD_STRINGS = b"\0_ZN10tensorflow12OpDefBuilder5InputESs\0"
_CPP17 = b"\0_ZN10tensorflow15OpKernelContext5inputESt17basic_string_viewI"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Compiler:
    language: str
    programs: tuple[str, ...]
    flags: tuple[str, ...]
    advice: str


_C = _Compiler(
    language="C", programs=("cc", "gcc", "clang"), flags=("-std=gnu11", "-O2"), advice="install gcc or clang"
)
_CPP = _Compiler(
    language="C++",
    programs=("g++", "clang++"),
    # The alignment is what `tf.sysconfig.get_compile_flags()` says; the wheels are built without debug checks.
    flags=("-O2", "-DEIGEN_MAX_ALIGN_BYTES=64", "-DNDEBUG"),
    advice="install g++ or clang++, or write the op in C",
)
_COMPILERS = {".c": _C, ".cc": _CPP, ".cpp": _CPP, ".cxx": _CPP}


def compile_op(
    op: CustomOp, directory: Path, *, language: Language = "c", crash: bool = False, tensorflow: Path | None = None
) -> Path:
    """Return a library that registers *op* for the CPU, from float32 of any shape to the same; it is kept in *directory*.

    In C one library works with every TensorFlow from 2.6 on: 2.5 lacks a function that it needs (measured). In C++ it
    works with the version in the folder *tensorflow*, by default the installed one. With *crash* its kernel ends the
    process with SIGABRT. Raises as `compile_source` does.
    """
    if language not in _SOURCES:
        raise ValueError(f"language: seen {shown(language)}; allowed: {', '.join(_SOURCES)}")
    flags = [f'-DMME_OP="{op.name}"', f"-DMME_FACTOR={op.factor.hex()}f", *(["-DMME_CRASH"] if crash else [])]
    return compile_source(_SOURCES[language], directory, name=op.name, flags=flags, tensorflow=tensorflow)


def compile_source(
    source: Path, directory: Path, *, name: str = "", flags: Sequence[str] = (), tensorflow: Path | None = None
) -> Path:
    """Return the op library of a source in C (``.c``) or C++ (``.cc``, ``.cpp``, ``.cxx``), linked to TensorFlow.

    It is compiled once and kept in *directory*. Its file name has *name*, by default the name of the source, and a
    digest of the source without the files that it includes, of the *flags* and, for C++, of the TensorFlow in the
    folder *tensorflow*. That folder has `libtensorflow_framework.so.2` and `include/`, as wheels and the version_cache's
    folders do; by default it is the installed one. Raises `UnavailableError` when there is no compiler or no such
    TensorFlow, and with the compiler's message when it refuses the source; ValueError for another suffix.
    """
    if source.suffix not in _COMPILERS:
        raise ValueError(f"source: seen {shown(source.name)}; allowed: a name that ends in {', '.join(_COMPILERS)}")
    compiler = _COMPILERS[source.suffix]
    tensorflow = tensorflow or installed_directory()
    built = _built(tensorflow) if compiler is _CPP else _Built()
    flags = [*compiler.flags, *built.flags, *flags]
    digest = hashlib.sha256(json.dumps([source.read_bytes().hex(), flags, built.digest]).encode()).hexdigest()
    target = directory / f"{name or source.stem}-{digest[:16]}.so"
    if not target.exists():
        (directory / "locks").mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(directory / "locks" / f"{digest[:2]}.lock"):
            if not target.exists():  # another process may have been faster
                _compile(compiler, source, flags, tensorflow, target)
    return target


def _compile(compiler: _Compiler, source: Path, flags: Sequence[str], tensorflow: Path, target: Path) -> None:
    asked = f"the op library of {source.name}"
    program = next(filter(None, map(shutil.which, compiler.programs)), None)
    if program is None:
        seen = f"no {compiler.language} compiler was found on the PATH: {', '.join(compiler.programs)}"
        raise UnavailableError(asked, seen, compiler.advice)
    log.info("compiling %s, %s for TensorFlow in %s: once", target.name, compiler.language, tensorflow)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".draft-") as folder:
        draft = Path(folder, target.name)
        command = [program, *flags, "-shared", "-fPIC", f"-isystem{tensorflow / 'include'}", str(source)]
        # The process that loads it has opened TensorFlow with RTLD_LOCAL, so it must name the library that it needs.
        command += ["-o", str(draft), "-Wl,--no-as-needed", f"-L{tensorflow}", f"-l:{FRAMEWORK}"]
        done = subprocess.run(command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, check=False)
        if done.returncode:
            message = done.stderr.decode(errors="replace").strip()[:_MESSAGE_CHARACTERS]
            raise UnavailableError(
                asked, f"{Path(program).name} says:\n{message}", "fix the errors, beginning with the first"
            )
        draft.replace(target)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Built:
    """Which TensorFlow a library in C++ is for, and the compiler flags that it needs; both empty for C."""

    digest: str = ""
    flags: tuple[str, ...] = ()


@functools.cache
def _built(tensorflow: Path) -> _Built:
    library, header = tensorflow / FRAMEWORK, tensorflow / "include" / "tensorflow" / "core" / "framework" / "op.h"
    for needed in (library, header):
        if not needed.is_file():
            raise UnavailableError(
                f"an op library in C++ for the TensorFlow in {tensorflow}",
                f"there is no {needed.relative_to(tensorflow)}",
                "give the folder of a wheel: pytest_mme.libtensorflow has the installed one's and the version_cache's",
            )
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        standard = "17" if content.find(_CPP17) >= 0 else "14"
        strings = f"-D_GLIBCXX_USE_CXX11_ABI={int(content.find(_OLD_STRINGS) < 0)}"
        return _Built(digest=hashlib.sha256(content).hexdigest(), flags=(f"-std=gnu++{standard}", strings))
