"""Write `pytest_mme/models/forging/verdicts.json` and `docs/versions.md`: what each release does with each forgery.

Every release that `pytest_mme/archives/op_registry.py` knows serves every forgery on the embedded server, is asked once, and
its answer compared with the right one. Takes some two minutes, and what it takes to fetch the releases.

    python tools/make_versions.py                       all
    python tools/make_versions.py --measure VERSION     one, to standard output, without making an environment
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_mme import Run
from pytest_mme.archives.op_registry import registry
from pytest_mme.errors import ArchiveError, ContractError, NoAnswerError
from pytest_mme.models.builder import Model, Models
from pytest_mme.models.forging.forge import FORGERIES
from pytest_mme.models.forging.verdicts import Verdict
from pytest_mme.runtimes.server import Server

ROOT = Path(__file__).parents[1]
DATA, PAGE = ROOT / "pytest_mme" / "models" / "forging" / "verdicts.json", ROOT / "docs" / "versions.md"
OLD_EXPORTER = "2.8.4"
"""What it saves loads everywhere. An environment of its own is made for it."""
SHOWN = 70
CUT = 90
SHORT = {"answers": "answers", "differs": "**differs**", "not loaded": "load", "not answered": "request"}
_UNSTABLE = (
    (r"\b[0-9a-f]{32} cannot be loaded: ", ""),
    (r"Converting GraphDef to Graph has failed with an error: '", ""),
    (r"/\S*/(?=[\w.-]+)", "…/"),
    (r"\{\{\w+ \w+\}\}|\{\{node [^}]*\}\}", "…"),
    (r"(?<=find variable )\S+?(?=\. )", "…"),
    (r"\s+", " "),
)
HEAD = """# TensorFlow versions

`pytest --mme-tf 2.12.1 --mme-tf 2.20 --mme-tf latest` runs every test that starts a server once on each of these
TensorFlow versions, whatever is installed; `@pytest.mark.mme(tf=["2.15", "installed"])` does it for one test, and
`mme_server(tf="2.12.1")` for one server. A version is fetched once from the package index, as pip is configured, and
kept: `pytest-mme tensorflow list`. Only the shared libraries of its wheel are used, so any version from 2.5 on serves;
those up to 2.11 need Python 3.12 or older. 2.4 and before cannot be run: they need a function that Python 3.9 dropped.

With `--mme-runtime=docker` a version is the image `pytest-mme-server:VERSION`; build it first, `pytest-mme image build
server --tf VERSION`. An image of your own has the TensorFlow that it was built with.

## What each release does with what is wrong

Measured on a CPU, with the embedded server: TensorFlow's own C++ loader. *load*: it is not loaded; *request*: it
loads, and the first request fails; **differs**: it answers, and not what it should. The forgeries are described in
[forging.md](forging.md); those of variables are made of a Keras model, for 2.5 to 2.9 of one that TensorFlow 2.8 saved.
Made by `python tools/make_versions.py`; the tests hold some of the columns.

"""
WORDS = """
## In which words

On the newest release that refuses it.

| forgery | status | words |
| --- | --- | --- |
"""


def measure(version: str, *, exporters: tuple[str, ...]) -> dict[str, Verdict]:
    """What one release does with every forgery."""
    with Run() as run, run.server(tf=version, start_s=120) as server:
        return {name: judge(server, model) for name, model in forged(run.models, server, exporters)}


def forged(models: Models, server: Server, exporters: tuple[str, ...]) -> Iterator[tuple[str, Model]]:
    """Every forgery, of a tiny model or, where that has no variables, of the first Keras model that is loaded at all."""
    tiny, saved = models.linear(), (models.keras(saved_by=exporter) for exporter in exporters)
    keras = next((model for model in saved if judge(server, model).outcome == "answers"), None)
    for name in FORGERIES:
        try:
            yield name, models.forge(tiny, name)
        except ArchiveError:
            if keras is not None:
                yield name, models.forge(keras, name)


def judge(server: Server, model: Model) -> Verdict:
    try:
        server.load(model)
    except ContractError as error:
        return Verdict(outcome="not loaded", status=error.status, words=steady(error.body))
    except ArchiveError as error:  # the platform does not extract it
        return Verdict(outcome="not loaded", words=steady(error.seen))
    try:
        answer = server.client.invoke(server.identifier(model), b'{"instances": [[1.0]]}').expect("invoke").json()
    except (ContractError, NoAnswerError) as error:
        said = error.body if isinstance(error, ContractError) else str(error)
        return Verdict(outcome="not answered", status=getattr(error, "status", None), words=steady(said))
    finally:
        server.unload(model)
    right = model.spec is None or answer["predictions"][0] == model.answer([1.0])
    return Verdict(outcome="answers" if right else "differs")


def steady(said: str) -> str:
    """The beginning of an error without what changes from run to run."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        said = json.loads(said)["error"]
    for pattern, replaced in _UNSTABLE:
        said = re.sub(pattern, replaced, said)
    return said.partition(" in binary running on")[0][:CUT].strip()


def page(measured: Mapping[str, Mapping[str, Verdict]]) -> str:
    releases = list(measured)
    minors = [".".join(release.split(".")[:2]) for release in releases]
    lines = [f"| forgery | {' | '.join(minors)} |", f"| --- |{' --- |' * len(minors)}"]
    for name in FORGERIES:
        cells = (SHORT[measured[release][name].outcome] if name in measured[release] else "-" for release in releases)
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n" + WORDS + "\n".join(words(measured)) + "\n"


def words(measured: Mapping[str, Mapping[str, Verdict]]) -> Iterator[str]:
    for name in FORGERIES:
        said = [measured[release][name] for release in measured if name in measured[release]]
        if refused := [one for one in said if one.words]:
            text = refused[-1].words[:SHOWN].replace("|", "\\|")
            yield f"| `{name}` | {refused[-1].status or 'not unpacked'} | `{text}` |"


def fields(verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in dataclasses.asdict(one).items() if value not in (None, "")}
        for name, one in verdicts.items()
    }


def main() -> None:
    measured = {}
    for version in registry().releases:
        measured[version] = measure(version, exporters=("installed", OLD_EXPORTER))
        print(
            version, {outcome: sum(one.outcome == outcome for one in measured[version].values()) for outcome in SHORT}
        )
    DATA.write_text(
        json.dumps({by: fields(found) for by, found in measured.items()}, indent=1, ensure_ascii=False) + "\n"
    )
    PAGE.write_text(page(measured))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(fields(measure(sys.argv[2], exporters=("installed",)))))
    else:
        main()
