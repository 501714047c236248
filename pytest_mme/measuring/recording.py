"""Records what a model answers on the embedded server, for `mme_models.archive(path, answers="recorded")`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_mme.errors import AnswersError, ArchiveError, ContractError, NoAnswerError, shown
from pytest_mme.models.asking import Round
from pytest_mme.models.builder import Model
from pytest_mme.runtimes.base import Runtime
from pytest_mme.runtimes.server import Server
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.timeline.events import Timeline


class Recorder:
    """Asks a model through its own handler, alone on a server, one request after the other."""

    def __init__(self, runtime: Callable[[], Runtime]) -> None:
        """*runtime*: starts embedded servers; it is asked for when it is needed."""
        self._runtime = runtime

    def __call__(self, model: Model, inputs: Sequence[Any], *, code: Path | None, tf: str) -> list[Round]:
        """Ask for all *inputs*, again in reverse, and once more when the model has been loaded again.

        So a model is found out that remembers calls, and one that draws random numbers at each call or each load. Raises
        `AnswersError` when it does not load, or does not reply with a prediction.
        """
        timeline = Timeline()
        spec = ServerSpec(tf=tf, code=code, op_libraries=model.op_libraries)
        with self._runtime().run(spec, name="recording", timeline=timeline) as running:
            server = Server(running, timeline)
            _load(server, model)
            first = [_ask(server, model, x) for x in inputs]
            again = [_ask(server, model, x) for x in reversed(inputs)][::-1]
            server.unload(model)
            _load(server, model)
            anew = [_ask(server, model, x) for x in reversed(inputs)][::-1]
        return [Round("first", first), Round("then", again), Round("and when it had been loaded again", anew)]


def _load(server: Server, model: Model) -> None:
    try:
        server.load(model)
    except (ContractError, ArchiveError, NoAnswerError) as error:
        seen = error.body if isinstance(error, ContractError) else str(error)
        raise AnswersError(model.name, f"it was not loaded: {seen.strip()}", "see pytest-mme doctor") from error


def _ask(server: Server, model: Model, x: Any) -> Any:
    try:
        return server.invoke(model, x)
    except (ContractError, NoAnswerError) as error:
        reply = f"{error.status}: {error.body.strip()}" if isinstance(error, ContractError) else str(error)
        advice = "give inputs=[…], instances that the model and its handler take"
        raise AnswersError(model.name, f"asked for x = {shown(x)}, it replied {reply}", advice) from error
