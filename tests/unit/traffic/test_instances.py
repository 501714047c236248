"""What a load sends where the test does not say it."""

from __future__ import annotations

from pathlib import Path

from pytest_mme import Model, ModelSpec
from pytest_mme.models.known_answers import KnownAnswers, Pair, Tolerances
from pytest_mme.traffic.traffic import in_turn

ARCHIVE = Path("m.tar.gz")


def test_known_instances_of_each_model_are_sent_in_turn() -> None:
    first, second = (
        Model(name=name, archive=ARCHIVE, known=KnownAnswers.of([Pair(x, None) for x in xs], Tolerances()))
        for name, xs in (("first", ["a", "b"]), ("second", ["c", "d", "e"]))
    )
    draw = in_turn()
    drawn = [draw(model) for model in (first, first, second, first, second, second, second)]
    assert drawn == ["a", "b", "c", "a", "d", "e", "c"]
    assert in_turn()(first) == "a", "each load begins anew"


def test_the_kits_models_are_sent_their_example_and_unknown_ones_a_number() -> None:
    text = ModelSpec(name="m", kind="text")
    assert in_turn()(Model(name="m", archive=ARCHIVE, spec=text)) == text.example
    assert in_turn()(Model(name="m", archive=ARCHIVE)) == [1.0]
    of_a_function = KnownAnswers(lambda x: x, (), Tolerances())
    assert in_turn()(Model(name="m", archive=ARCHIVE, known=of_a_function)) == [1.0]
