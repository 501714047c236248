"""A trained model that somebody else published, served as it is: basic-pitch, Spotify's transcription of music."""

import math
from pathlib import Path

import pytest

from ranking.client import SAMPLE_RATE, WINDOW, Client

MODEL = Path(__file__).parents[1] / ".models" / "basic-pitch"

pytestmark = pytest.mark.skipif(
    not MODEL.exists(), reason="basic-pitch is not here yet; fetch it with: python fetch_models.py"
)


def sine(hertz):
    return [0.5 * math.sin(2 * math.pi * hertz * sample / SAMPLE_RATE) for sample in range(WINDOW)]


def test_it_hears_the_tones_that_are_played(mme_endpoint, mme_models):
    mme_endpoint([mme_models.archive(MODEL), mme_models.linear("ranking-de")], name="ranking")
    client = Client("ranking")
    heard = client.transcribe(sine(440))
    assert heard.loudest_key == 69  # A4
    for rows, width in ((heard.note, 88), (heard.onset, 88), (heard.contour, 264)):
        assert [len(row) for row in rows] == [width] * 172
        assert all(0 <= value <= 1 for row in rows for value in row)  # NaN and infinity are outside, too
    assert client.transcribe(sine(220)).loudest_key == 57  # A3


def test_a_window_of_another_length_is_refused_before_it_is_sent(mme_endpoint, mme_models):
    endpoint = mme_endpoint([mme_models.archive(MODEL)], name="ranking")
    with pytest.raises(ValueError, match="exactly 43844"):
        Client("ranking").transcribe([0.0] * 100)
    assert not [event for event in endpoint.timeline if event.kind == "attempt"]
