"""Answers that a model gave itself: it is asked alone, more than once, and what it predicted is kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import filelock

from pytest_mme import versions as tensorflow_versions
from pytest_mme.archives.archive import extract, versions
from pytest_mme.archives.code import digest, files_of
from pytest_mme.archives.store import Store, sha256
from pytest_mme.errors import AnswersError, UnavailableError, shown
from pytest_mme.models.exporting.environments import Exporter, Exporters
from pytest_mme.models.exporting.process import TensorFlowProcess
from pytest_mme.models.known_answers import Asked, Pair, Tolerances, answer_of, key_of, read_pairs, write_pairs

if TYPE_CHECKING:
    from pytest_mme.models.builder import Model

ASKING = 1  # goes into the keys of kept answers: raise it whenever models are asked otherwise, or for other samples
MOST_BYTES = 1 << 20
"""The largest sample that is made of a signature, as JSON."""
_NONE_GIVEN = "give inputs=[…], instances that the model takes"


class Round(NamedTuple):
    """What a model predicted when it was asked for all inputs once."""

    when: str
    """How this round differs from the first one, for messages."""
    predictions: Sequence[Any]


class Recorder(Protocol):
    """Asks a model on a server: `measuring.recording.Recorder`."""

    def __call__(self, model: Model, inputs: Sequence[Any], *, code: Path | None, tf: str) -> list[Round]:
        """Ask *model* for *inputs*, alone, in several rounds; raises `AnswersError` when it does not load or reply."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """What to ask a model, and where."""

    model: Model
    inputs: Sequence[Any] | None
    """Instances in JSON's types; None: samples of its signature."""
    code: Path | None
    """A folder with the `inference.py` of all models, or a file with an `inference_handler`."""
    tf: str | None


class Answerers:
    """Ask models, and keep what they answered in a folder: by the archive, the inputs, the TensorFlow and the code."""

    def __init__(
        self,
        store: Store,
        exporters: Exporters,
        process: Callable[[Exporter], TensorFlowProcess],
        recorder: Recorder | None,
    ) -> None:
        self._folder = store.directory.parent / "answers"
        self._store, self._exporters, self._process, self._recorder = store, exporters, process, recorder

    def pairs(self, asked: Asked, question: Question, tolerances: Tolerances) -> list[Pair]:
        """Return what the model answers, asked once ever; raises `AnswersError` and `UnavailableError`.

        A model whose answers differ by more than *tolerances* from round to round is refused.
        """
        ask = self._recorded if asked == "recorded" else self._by_python
        tensorflow = self._tensorflow(asked, question)
        kept = self._folder / f"{_key(asked, question, tensorflow)}.jsonl"
        if not kept.exists():
            (self._folder / "locks").mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self._folder / "locks" / f"{kept.stem[:2]}.lock"):
                if not kept.exists():  # another process may have asked meanwhile
                    inputs = _samples(question.model) if question.inputs is None else question.inputs
                    pairs = _settled(question.model.name, inputs, ask(question, inputs), tolerances)
                    draft = kept.with_suffix(".draft")
                    write_pairs(pairs, draft)
                    draft.replace(kept)
        return read_pairs(question.model.name, kept)

    def _tensorflow(self, asked: Asked, question: Question) -> str:
        if asked == "recorded":
            return self._exporters.version_cache.resolve(question.tf)
        try:
            return self._exporters.identity(question.tf or tensorflow_versions.INSTALLED)
        except UnavailableError as error:
            advice = "install tensorflow or tensorflow-cpu, give a version as in tf='2.15.1', or use answers='recorded'"
            raise UnavailableError(f"answers='python' for {question.model.name}", error.seen, advice) from error

    def _recorded(self, question: Question, inputs: Sequence[Any]) -> list[Round]:
        if self._recorder is None:
            raise UnavailableError(
                f"answers='recorded' for {question.model.name}",
                "this builder of models has no server to ask",
                "use the fixture mme_models, or Run().models",
            )
        tf = self._exporters.version_cache.resolve(question.tf)
        return self._recorder(question.model, inputs, code=question.code, tf=tf)

    def _by_python(self, question: Question, inputs: Sequence[Any]) -> list[Round]:
        exporter = self._exporters.exporter(question.tf or tensorflow_versions.INSTALLED)
        with self._store.drafts() as drafts:
            extract(question.model.archive, drafts / "model")
            _, saved_model = versions(drafts / "model")[-1]
            process = self._process(exporter)
            rounds = process.answers(saved_model, inputs, drafts / "answers.json", name=question.model.name)
        return [Round("then", predictions) for predictions in rounds]


def _key(asked: Asked, question: Question, tensorflow: str) -> str:
    """Name what the answers depend on: 64 hex digits."""
    code = "" if question.code is None else digest(files_of(question.code))
    named = question.model.name if question.code is not None and question.code.is_file() else ""  # it is told the name
    inputs = None if question.inputs is None else [key_of(x) for x in question.inputs]
    facts = [ASKING, asked, tensorflow, sha256(question.model.archive), code, named, inputs]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _samples(model: Model) -> list[Any]:
    from pytest_mme.models.sample_inputs import (
        NoRequestError,
        default_signature,
        sample_instances,
    )  # protobuf and numpy

    try:
        samples = sample_instances(default_signature(model.archive).inputs, MOST_BYTES)
    except NoRequestError as error:
        raise AnswersError(model.name, f"no inputs were given, and none can be made: {error}", _NONE_GIVEN) from error
    return [*{key_of(x): x for x in samples}.values()]


def _settled(model: str, inputs: Sequence[Any], rounds: Sequence[Round], tolerances: Tolerances) -> list[Pair]:
    """Return what all rounds agree on; raises `AnswersError` for the first input on which two of them do not."""
    first, *others = rounds
    for x, predicted, when, again in _compared(inputs, first, others):
        if answer_of(model, predicted, tolerances) != again:
            seen = f"asked more than once for x = {shown(x)}, it predicted {shown(predicted)}, {when} {shown(again)}"
            advice = (
                "a model that remembers calls or draws random numbers has no answer to know: leave out answers=, or "
                "make it deterministic"
            )
            raise AnswersError(model, seen, advice)
    return [Pair(x, predicted) for x, predicted in zip(inputs, first.predictions, strict=True)]


def _compared(inputs: Sequence[Any], first: Round, others: Sequence[Round]) -> Iterator[tuple[Any, Any, str, Any]]:
    for one in others:
        for x, predicted, again in zip(inputs, first.predictions, one.predictions, strict=True):
            yield x, predicted, one.when, again
