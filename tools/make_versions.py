"""Write `pytest_mme/models/forging/verdicts.json`: what each TensorFlow release does with each forgery.

Every release that `pytest_mme/archives/op_registry.py` knows serves every forgery on the embedded server, is asked once, and
its answer compared with the right one. Takes some two minutes, and what it takes to fetch the releases.

    python tools/make_versions.py                       all
    python tools/make_versions.py --measure VERSION     one, to standard output, without making an environment

`python -m tools.make_docs --write` then takes the new data over into docs/versions.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pytest_mme import Run
from pytest_mme.archives.op_registry import registry
from pytest_mme.errors import ArchiveError, ContractError, NoAnswerError
from pytest_mme.models.builder import Model, Models
from pytest_mme.models.forging.forge import FORGERIES
from pytest_mme.models.forging.verdicts import Outcome, Verdict
from pytest_mme.runtimes.server import Server

ROOT = Path(__file__).parents[1]
DATA = ROOT / "pytest_mme" / "models" / "forging" / "verdicts.json"
OLD_EXPORTER = "2.8.4"
"""What it saves loads everywhere. An environment of its own is made for it."""
CUT = 90
_UNSTABLE = (
    (r"\b[0-9a-f]{32} cannot be loaded: ", ""),
    (r"Converting GraphDef to Graph has failed with an error: '", ""),
    (r"/\S*/(?=[\w.-]+)", "…/"),
    (r"\{\{\w+ \w+\}\}|\{\{node [^}]*\}\}", "…"),
    (r"(?<=find variable )\S+?(?=\. )", "…"),
    (r"\s+", " "),
)


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
        message = error.body if isinstance(error, ContractError) else str(error)
        return Verdict(outcome="not answered", status=getattr(error, "status", None), words=steady(message))
    finally:
        server.unload(model)
    right = model.spec is None or answer["predictions"][0] == model.answer([1.0])
    return Verdict(outcome="answers" if right else "differs")


def steady(message: str) -> str:
    """The beginning of an error without what changes from run to run."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        message = json.loads(message)["error"]
    for pattern, replaced in _UNSTABLE:
        message = re.sub(pattern, replaced, message)
    return message.partition(" in binary running on")[0][:CUT].strip()


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
            version,
            {
                outcome: sum(one.outcome == outcome for one in measured[version].values())
                for outcome in get_args(Outcome)
            },
        )
    DATA.write_text(
        json.dumps({by: fields(found) for by, found in measured.items()}, indent=1, ensure_ascii=False) + "\n"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(fields(measure(sys.argv[2], exporters=("installed",)))))
    else:
        main()
