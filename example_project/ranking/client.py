"""The client of our multi-model endpoint: one ranking model for each country, and basic-pitch, which hears notes."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from typing import Any

import boto3
from botocore.config import Config

SAMPLE_RATE = 22_050  # Hz
WINDOW = 43_844  # samples: just under two seconds, the only length that basic-pitch takes
LOWEST_KEY = 21  # MIDI number of the first of the piano's 88 keys

_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 3},  # this mode leaves ModelNotReadyException to us
    read_timeout=70,  # a model may take 60 seconds, and AWS asks clients to wait longer than that
)


@dataclasses.dataclass(frozen=True)
class Transcription:
    """What basic-pitch hears in one window: 172 frames, probabilities between 0 and 1."""

    note: list[list[float]]
    """How likely each of the 88 keys sounds."""
    onset: list[list[float]]
    """How likely each of the 88 keys was just struck."""
    contour: list[list[float]]
    """The pitch, in thirds of a semitone: 264 of them."""

    @property
    def loudest_key(self) -> int:
        """The MIDI number of the key that sounds most, 69 for A4."""
        totals = [sum(frames) for frames in zip(*self.note, strict=True)]
        return LOWEST_KEY + totals.index(max(totals))


class Client:
    """Asks the endpoint, and waits for a model that SageMaker is still loading."""

    def __init__(self, endpoint: str, *, pauses_s: Sequence[float] = (0.5, 1, 2, 4, 8)) -> None:
        """*pauses_s*: how long to wait before each further try when the model is not ready."""
        self._endpoint, self._pauses_s = endpoint, pauses_s
        self._runtime = boto3.client("sagemaker-runtime", config=_CONFIG)

    def rank(self, country: str, features: Sequence[float]) -> list[float]:
        """The scores of a country's items; raises botocore's `ClientError`."""
        scores: list[float] = self.predict(f"ranking-{country}", list(features))["y"]
        return scores

    def transcribe(self, audio: Sequence[float]) -> Transcription:
        """The notes in one window of mono *audio*, samples from -1 to 1; raises botocore's `ClientError`."""
        if len(audio) != WINDOW:
            raise ValueError(f"{len(audio)} samples of audio; basic-pitch takes exactly {WINDOW}")
        return Transcription(**self.predict("basic-pitch", [[sample] for sample in audio]))

    def predict(self, model: str, instance: Any) -> Any:
        """What *model* predicts for one instance; raises botocore's `ClientError`."""
        body = json.dumps({"instances": [instance]})
        for pause_s in self._pauses_s:
            try:
                return self._ask(model, body)
            except self._runtime.exceptions.ModelNotReadyException:
                time.sleep(pause_s)
        return self._ask(model, body)

    def _ask(self, model: str, body: str) -> Any:
        reply = self._runtime.invoke_endpoint(
            EndpointName=self._endpoint,
            TargetModel=f"{model}.tar.gz",
            ContentType="application/json",
            Body=body,
        )
        return json.load(reply["Body"])["predictions"][0]
