"""What holds each number in the sentences of the documentation: the code, a benchmark's record, or a measurement.

A phrase must stand in its page as it is here, and every number of a page must be part of a phrase. Where the code knows a
number, the phrase is made of it; a number that was measured or decided once is recorded here with its source.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from bench.output import RESULTS
from pytest_mme import versions
from pytest_mme.archives.op_registry import registry
from pytest_mme.contract import routes
from pytest_mme.contract.conformance.subject import CONTRACT_LIMITS, HEAVY_MIB
from pytest_mme.contract.dialects import TENSORFLOW_B
from pytest_mme.libtensorflow.signatures import TensorSpec
from pytest_mme.models.forging.forge import FORGERIES
from pytest_mme.models.sample_inputs import shape_of
from pytest_mme.plugin import evidence
from pytest_mme.runtimes.base import STOP_S
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.timeline.observed import SAME_MOMENT_S
from pytest_mme.timeline.residency import ONE_DEATH_S
from tools import install_table
from tools.make_docs import ROOT, command_at

CODE = "the code"


@dataclasses.dataclass(frozen=True)
class Held:
    """A phrase with numbers."""

    phrase: str
    by: str
    """Where the numbers come from."""


def once(phrase: str, how: str = "TensorFlow 2.21.0, two cores, November 2026") -> Held:
    """A figure that was measured once."""
    return Held(phrase, f"measured once: {how}")


def known(phrase: str) -> Held:
    """A phrase that the code has made."""
    return Held(phrase, CODE)


def example(phrase: str) -> Held:
    """A value in an example, which could be any other."""
    return Held(phrase, "an example")


def private(path: str) -> Any:
    """What a module calls by a name of its own, as in ``report.summary:_ROWS``."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(f"pytest_mme.{module}"), name)


def default(function: Callable[..., Any], name: str) -> Any:
    """The default of an argument."""
    return inspect.signature(function).parameters[name].default


def of_option(name: str, *command: str) -> Any:
    """The default of an option of `pytest-mme`."""
    return next(one.default for one in command_at(command).params if name in one.opts)


def benchmark(claim: str) -> float:
    """What bench/RESULTS.md records for a claim, without its unit."""
    found = re.search(rf"^\| {re.escape(claim)} \| ([-\d.]+) ", RESULTS.read_text(), re.MULTILINE)
    assert found is not None, claim
    return float(found[1])


def pyproject(pattern: str) -> str:
    """What pyproject.toml says."""
    found = re.search(pattern, (ROOT / "pyproject.toml").read_text())
    assert found is not None, pattern
    return found[1]


def minor(release: str) -> str:
    """`2.21` of `2.21.0`."""
    return ".".join(release.split(".")[:2])


def grouped(number: int) -> str:
    """`100 000`."""
    return f"{number:,}".replace(",", " ")


FIRST, LAST = (minor(registry().releases[place]) for place in (0, -1))
SUPPORTED = Held("Docker 20.10", "tests/runtimes, with that engine")
PODMAN = Held("Podman 4.3", "tests/runtimes/test_podman.py, with that engine")
X86 = Held("version 1 memory cgroups", "the machine of the tests")
KERAS = Held("Keras 3", "the major version of the package that TensorFlow installs")
MEASURED_WITH = once("two cores, TensorFlow 2.21.0 and Python 3.11")


def all_held() -> Mapping[str, tuple[Held, ...]]:
    """The phrases of each page."""
    server = ServerSpec()
    traffic = importlib.import_module("pytest_mme.traffic.traffic").Traffic
    middle = re.findall(r"\d\.\d+", TENSORFLOW_B.name)[1]
    headroom, imports = (int(private(f"images.mms.handler:{name}")) for name in ("_HEADROOM_MIB", "_IMPORT_MIB"))
    oldest, tried = minor(install_table.VERSIONS[0]), sorted({row["python"] for row in install_table.read()["tried"]})
    *some, last = (python for python in tried if python != "3.11")
    others = f"{', '.join(some)} and {last}"
    return {
        "docs/claims.md": (
            known(f"moments less than {SAME_MOMENT_S * 1e3:g} ms apart have no order"),
            known(f"is up to {ONE_DEATH_S:g} s late"),
            known(f"({', '.join(private('timeline.observed:_BAD_REQUEST'))}) is no failure of a model"),
        ),
        "docs/architecture.md": (known(f"a reply of {routes.OUT_OF_MEMORY} evicts"),),
        "docs/installing.md": (
            known(f"or another wheel of it, from {oldest} on"),
            once("some 250 MB once"),
            known(f"`pytest-mme tensorflow fetch {versions.DEFAULT}`"),
            once(
                "On Python 3.10, name TensorFlow 2.12 or 2.13 in the same line, `pip install pytest-mme tensorflow==2.12.1`"
            ),
            Held("TensorFlow from 2.14 on brings the package", "read in the wheels"),
            Held("on Python 3.11: with the oldest", "tools/install_table.py"),
        ),
        "README.md": (
            example("`fits=2`"),
            example("memory_mib=300"),
            known(f"replies {routes.OUT_OF_MEMORY}, as"),
            Held("(version 1 or 2)", "tests/unit/serving/test_cgroups.py"),
            known(f"any TensorFlow from {oldest} on"),
            Held(f"Python 3.11 and TensorFlow {LAST}", "the environment of the tests"),
            known(f"TensorFlow from {oldest} on, and with Python {others} ("),
            SUPPORTED,
            PODMAN,
            example("`pytest-mme serve DIR --memory-mib 300 --port 8080`"),
            example("`curl localhost:8080/models`"),
        ),
        "docs/checks.md": (
            known(f"clients={default(traffic.closed, 'clients')}, requests="),
            example("requests=200"),
            example("seconds=10"),
            example("ramp(0, 50, seconds=5), hold(50, seconds=20), burst(30)"),
            known(f"`clients={default(traffic.open, 'clients')}`"),
            example("lambda model: [1.0, 2.0]"),
            example("answers=lambda x: [2 * x[0]]"),
            example('{"x": [1.0], "prediction": [2.0]}'),
            Held("numbers below 1,", "tests/unit/models/test_known_answers.py"),
            known(f"counts as {shape_of(TensorSpec('', 0, (None,)))[0]}."),
            example('tf="2.15.1"'),
            Held("returns float32", "the name of a type"),
            example("latency_s(99)"),
            once("about 1000 calls per second"),
        ),
        "docs/conformance.md": (
            known(
                f"{routes.PING_TIMEOUT_S:g} s for a ping, {routes.INVOKE_TIMEOUT_S:g} s for a request, "
                f"{routes.LOAD_TIMEOUT_S:g} s for a load"
            ),
            known(f"the judge waits for {CONTRACT_LIMITS.look_s:g} s"),
            known(f"{HEAVY_MIB} MiB of weights"),
            known(
                f"{private('contract.conformance.clauses.loading:_FREED'):.0%}".replace("%", " %") + " of the memory"
            ),
            known(f"TensorFlow images up to {middle}"),
        ),
        "docs/containers.md": (
            SUPPORTED,
            PODMAN,
            X86,
            known("returns 200"),
            known(f"within the next {routes.LOOK_TIMEOUT_S:g} s"),
            known(f"{server.start_s:g} s by default"),
            known(f"SIGKILL after {STOP_S:g} s"),
            known(f"SIGKILL follows after {private('runtimes.docker.server:_TEAR_DOWN_S'):g} s"),
            once("about 80 MiB"),
            known(f"a tiny model {benchmark('memory per resident model (of 8, asked once)'):.0f} MiB"),
            once("120 to 150 MiB, and a tiny model there 215 MiB"),
            once("multi-model-server 1.1.11"),
            once("of 562 MiB, 489 MiB were still in use then, and 357 MiB half a second later"),
            once("exit code 0"),
            once("`exit 0`"),
            known(f"with {routes.OUT_OF_MEMORY} unless the limit leaves {headroom + imports} MiB"),
            known(f"`PYTEST_MME_IMPORT_MIB` ({imports})"),
            known(f"`PYTEST_MME_HEADROOM_MIB` ({headroom})"),
            once(f"replies {routes.OUT_OF_MEMORY} only to"),
            once("the reply is 500"),
            example("/run/user/1000/"),
            once("139 of 156 passed", "Podman 4.3, November 2026"),
        ),
        "docs/custom-ops.md": (
            known(f"every version from {FIRST} to {LAST}"),
            once("for 2.5, 2.9, 2.12, 2.15, 2.16 and 2.21"),
        ),
        "docs/doctor.md": (
            known(f"{FIRST} to {LAST}."),
            Held("is 0 when there is nothing", "tests/local/test_doctor_command.py"),
            Held("1 for an error or a warning, and 2 when", "tests/local/test_doctor_command.py"),
            Held("Keras 2, Keras 3 and TensorFlow 1's builder", "tests/local/test_doctor_exports.py"),
            Held("graphs of TensorFlow 1 and", "tests/unit/doctor/test_doctor.py"),
        ),
        "docs/embedded-server.md": (
            known(f"lists {private('serving.http.app:_PAGE')} models"),
            Held("paths (404), methods (405) and bodies that are too large (413)", "tests/stress/test_raw_http.py"),
            Held("attribute gets 400", "tests/local/test_attributes.py"),
            known(f"full gets {routes.OUT_OF_MEMORY}"),
        ),
        "docs/exporters.md": (
            example('saved_by="2.12.1"'),
            example("TensorFlow 2.12.1 itself"),
            Held("Keras 3 from TensorFlow 2.16 on and Keras 2 before", "tests/unit/models/test_saved_by.py"),
            Held("up to TensorFlow 2.12 `tf.saved_model.save`", "tests/unit/models/test_saved_by.py"),
            once("1.2 to 1.7 GB and about 20 s"),
            once("2 to 3 s, once for a run and version; a model takes 0.05 s, with Keras 0.3 s"),
        ),
        "docs/facts.md": (
            once("November 2026"),
            MEASURED_WITH,
            Held("version 2 cgroups", "what the tests do not reach"),
        ),
        "docs/faults.md": (
            once("2 to 3 s"),
            once("in 2 of 8 tries"),
            once("replied 500 in the others"),
            Held("there is 1 MiB left", "tests/local/test_faults.py"),
            known(f"replies {routes.OUT_OF_MEMORY}, and the endpoint"),
            known(f"SIGKILL {STOP_S:g} s later"),
        ),
        "docs/fit.md": (
            known(f"by default {of_option('--concurrency', 'fit')})"),
            Held("dimensions set to 1", "tests/unit/measuring/test_capacity.py"),
            Held("is 0 when all archives fit, 1 when they do not, and 2 when", "tests/local/test_fit_command.py"),
            once("allocates 30 MiB for a request"),
            known(f"the {private('measuring.capacity:_SAMPLE_EVERY_S') * 1000:g} ms between two measurements"),
        ),
        "docs/forging.md": (
            known(f"all {len(FORGERIES)}."),
            Held("TensorFlow 2.21's C++ loader", "the environment of the tests"),
            once("TensorFlow 1 with `producer-huge`"),
        ),
        "docs/handlers.md": (
            known(
                f"1 hides code that is not thread-safe, {private('serving.processes.handler:_REQUESTS_AT_ONCE')} exposes"
            ),
            Held("gives 500, or its `status_code`", "tests/local/test_inference_handler.py"),
            once("six models of 150 MiB each: loaded into one process they took 1160 MiB"),
            once("730 MiB"),
            once("1460 MiB"),
        ),
        "docs/optimised.md": (
            known(f"by default {of_option('--tolerance', 'optimise'):.0e}".replace("e-0", "e-")),
            known(f"{private('measuring.cost:_LOADS')} loads and of {private('measuring.cost:_REQUESTS')} requests"),
            once("November 2026, with TensorFlow 2.21 on two cores"),
            once("5 to 15 MiB"),
            KERAS,
        ),
        "docs/recipes.md": (
            example("`pytest-mme fit dist/*.tar.gz --memory 4096`"),
            Held("status 429", "tests/local/test_endpoint.py"),
            example("`.slowed(latency_s=1)`"),
            example("`.chaos(model, seconds=5)`"),
        ),
        "docs/replay.md": (
            known(f"The last {private('replay.bundle:_KEPT')} failures"),
            Held("exit status is 1 when a check fails", "tests/plugin/test_replay.py"),
            known(f"more than {private('runtimes.recorded_calls:_MAX_RECORDED_BYTES')} bytes"),
        ),
        "docs/report.md": (
            known(f"at most {evidence.MOST_LINES} lines"),
            known(f"last {evidence.MOST_PROPERTY_BYTES >> 10} KiB"),
            known(f"fewer than {private('report.html:_ENOUGH')} requests"),
            Held("p50 and p99", "pytest_mme/report/summary.py"),
            known(f"at most {private('report.summary:_ROWS')}:"),
            known(f"of memory ({routes.OUT_OF_MEMORY})"),
            Held("the 12 slowest models", "pytest_mme/report/html.py"),
            known(f"its last {private('report.html:_MOST_ROWS')} events"),
            known(
                f"A page of {grouped(private_of_bench('_EVENTS'))} events of one test with {private_of_bench('_MODELS')} models"
            ),
            known(f"takes {benchmark('page of 100000 events, size'):.1f} MB"),
            known(f"work after {benchmark('the same in Chromium, until its tables and filters work'):.1f} s"),
            known(f"drawn after {benchmark('the same in Chromium, until its charts are drawn') + 1e-9:.1f} s"),
        ),
        "docs/tutorial.md": (
            example("`fits=1`"),
            example("pack the folder `1`"),
        ),
        "docs/versions-matrix.md": (example("`pytest --mme-tf 2.5.3 --mme-tf 2.12.1 --mme-tf installed`"),),
        "docs/versions.md": (
            example("`pytest --mme-tf 2.12.1 --mme-tf 2.20 --mme-tf latest`"),
            example('tf=["2.15", "installed"]'),
            example('tf="2.12.1"'),
            known(f"any version from {FIRST} on"),
            Held("versions up to 2.11 need Python 3.12 or older", "tests/unit/libtensorflow/test_version_cache.py"),
            known(f"Versions up to {FIRST[:2]}{int(FIRST[2:]) - 1} cannot be run"),
            once("Python 3.9 dropped"),
            Held("for 2.5 to 2.9, from one that TensorFlow 2.8 saved", "tools/make_versions.py"),
        ),
    }


def private_of_bench(name: str) -> int:
    """A constant of the benchmark of evidence."""
    found: int = getattr(importlib.import_module("bench.evidence"), name)
    return found
