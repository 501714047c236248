"""Other TensorFlow versions, forged models and the doctor, against the aims and against TensorFlow's Python package."""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

from bench.claims import Claim
from bench.measure import seconds_of
from bench.output import Lines
from bench.rig import Rig, Say, rigged
from pytest_mme import Model
from pytest_mme.archives.archive import extract, pack
from pytest_mme.errors import ArchiveError
from pytest_mme.libtensorflow.version_cache import VersionCache
from pytest_mme.models.forging.forge import FORGERIES, forge
from pytest_mme.settings import Settings

VERSIONS = ("2.12.1", "2.15.1", "2.18.1", "installed")
_MODELS, _STARTS = 10, 3
_TESTS = """
    import pytest

    @pytest.mark.parametrize("number", range({models}))
    def test_model(mme_server, mme_models, number):
        server, model = mme_server(), mme_models.linear(f"model-{{number}}")
        server.load(model)
        assert server.invoke(model, [1.0]) == model.answer([1.0])
"""
_DOCTOR = "from pytest_mme.cli import app; app(['doctor', {archive!r}])"


def versions(say: Say) -> Lines:
    """The numbers of docs/versions.md and docs/forging.md."""
    user = Settings.resolve(environment=os.environ).cache.value  # versions that are here are not fetched again
    version_cache = VersionCache(user / "tensorflow")
    for version in VERSIONS:
        say(f"TensorFlow {version}")
        version_cache.directory(version)
    with rigged(say) as rig:
        pair_s = rig.peers.first_answer_s
        pairs = _MODELS * len(VERSIONS)
        doctor_s, doctor_mb = _doctor(rig)
        found = [
            Claim(
                what=f"{_MODELS} models on {len(VERSIONS)} versions, as {pairs} tests",
                ours=_matrix(rig, user),
                unit="s",
                peer=pair_s * pairs,
                at_most=30,
            ),
            Claim(
                what=f"a server of another version (median of {_STARTS * len(VERSIONS)} starts)",
                ours=_switch(rig, version_cache),
                unit="s",
                peer=pair_s,
                at_most=1,
            ),
            Claim(what="forged model, the slowest of all", ours=_forge_ms(rig), unit="ms", at_most=50),
            Claim(what="doctor, an archive of 100 MB", ours=doctor_s, unit="s", at_most=2),
            Claim(what="doctor, an archive of 100 MB, memory", ours=doctor_mb, unit="MB", at_most=200),
        ]
        return [claim.cells for claim in found]


def _matrix(rig: Rig, cache: Path) -> float:
    rig.say("the matrix")
    folder = rig.directory / "matrix"
    folder.mkdir()
    (folder / "test_matrix.py").write_text(textwrap.dedent(_TESTS.format(models=_MODELS)))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"--mme-tf={one}" for one in VERSIONS)]
    began = time.perf_counter()
    subprocess.run([*command, f"--mme-cache={cache}", str(folder)], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _switch(rig: Rig, version_cache: VersionCache) -> float:
    rig.say("starts of servers")
    rig.run.version_cache = version_cache  # the user's: the rig's own cache is empty
    return statistics.median(_start_s(rig, version) for _ in range(_STARTS) for version in VERSIONS)


def _start_s(rig: Rig, version: str) -> float:
    began = time.perf_counter()
    with rig.run.server(tf=version):
        return time.perf_counter() - began


def _forge_ms(rig: Rig) -> float:
    rig.say("every forgery")
    took = []
    for name, model in itertools.product(FORGERIES, _models(rig)):
        folder = rig.directory / f"{model.name}-{name}"
        extract(model.archive, folder)
        with contextlib.suppress(ArchiveError):  # of some forgeries the tiny model has nothing to forge
            took.append(seconds_of(partial(forge, folder, name)))
    return max(took) * 1000


def _models(rig: Rig) -> tuple[Model, Model]:
    return rig.run.models.linear(), rig.run.models.keras()


def _doctor(rig: Rig) -> tuple[float, float]:
    """Seconds, and MB at the most, of the command, Python's start included."""
    rig.say("the doctor")
    folder, archive = rig.directory / "large", rig.directory / "large.tar.gz"
    extract(rig.run.models.keras().archive, folder)
    extra = folder / "1" / "assets.extra"
    extra.mkdir()
    (extra / "random").write_bytes(os.urandom(100 * 1000 * 1000))
    pack(folder, archive)
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", _DOCTOR.format(archive=str(archive))], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    took_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the doctor ended with {process.returncode}")
    return took_s, used.ru_maxrss * 1024 / 1e6
