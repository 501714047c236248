"""Records what a model answers on the embedded server, for `mme_models.archive(path, answers="recorded")`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_mme.archives.archive import extract
from pytest_mme.errors import AnswersError, ArchiveError, ContractError, NoAnswerError, ServerStartError, shown
from pytest_mme.models.asking import Round
from pytest_mme.models.builder import Model
from pytest_mme.runtimes.local.runtime import LocalRuntime
from pytest_mme.runtimes.server import Server
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.timeline.events import Timeline

_NAME = "recording"


class Recorder:
    """Asks a model through its own handler, alone on a server, one request after the other."""

    def __init__(self, runtime: Callable[[], LocalRuntime]) -> None:
        """*runtime*: starts embedded servers; it is asked for when it is needed."""
        self._runtime = runtime

    def __call__(self, model: Model, inputs: Sequence[Any], *, code: Path | None, tf: str) -> list[Round]:
        """Ask for all *inputs*, again in reverse, and once more on a new server.

        So a model is found out that remembers calls, and one that draws random numbers at each call or each load. Raises
        `AnswersError` when it does not load, or does not reply with a prediction.
        """
        with self._alone(model, code, tf) as server:
            first = [_ask(server, model, x) for x in inputs]
            again = [_ask(server, model, x) for x in reversed(inputs)][::-1]
        with self._alone(model, code, tf) as server:
            anew = [_ask(server, model, x) for x in reversed(inputs)][::-1]
        return [Round("then", first), Round("then", again), Round("and when it had been loaded again", anew)]

    @contextlib.contextmanager
    def _alone(self, model: Model, code: Path | None, tf: str) -> Iterator[Server]:
        """A server with *model* and nothing else; *code* as in `Models.archive`."""
        timeline, libraries = Timeline(), model.op_libraries
        with contextlib.ExitStack() as stack:
            try:
                if code is not None and code.is_file():
                    spec = ServerSpec(tf=tf, op_libraries=libraries)
                    host = self._runtime().host(code.absolute(), _placing(model), spec, name=_NAME, timeline=timeline)
                    server = Server(stack.enter_context(host), timeline, loaded={model.name: model})
                else:
                    spec = ServerSpec(tf=tf, code=code, op_libraries=libraries)
                    running = stack.enter_context(self._runtime().run(spec, name=_NAME, timeline=timeline))
                    server = Server(running, timeline)
                    server.load(model)
            except (ContractError, ArchiveError, NoAnswerError, ServerStartError) as error:
                seen = error.body if isinstance(error, ContractError) else str(error)
                advice = "mend what it says; pytest-mme doctor examines an archive"
                raise AnswersError(model.name, f"it was not loaded: {seen.strip()}", advice) from error
            yield server


def _placing(model: Model) -> Callable[[Path], list[str]]:
    """Return what unpacks *model* into a folder of its name, and says that name."""

    def place(folder: Path) -> list[str]:
        extract(model.archive, folder / model.name)
        return [model.name]

    return place


def _ask(server: Server, model: Model, x: Any) -> Any:
    try:
        return server.invoke(model, x)
    except (ContractError, NoAnswerError) as error:
        reply = f"{error.status}: {error.body.strip()}" if isinstance(error, ContractError) else str(error)
        advice = "give inputs=[…], instances that the model and its handler take"
        raise AnswersError(model.name, f"asked for x = {shown(x)}, it replied {reply}", advice) from error
