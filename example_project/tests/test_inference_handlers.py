"""Four ways to write `inference_handler(data, model_name)`, and what the checks say of each.

The handlers are in `handlers/`. `mme_handler` hosts each in a process of its own, with TensorFlow's Python package, behind
the contract of a container. Three ways fail, each in its own manner; the expected failures are strict, so that a handler
that is mended is noticed. The fourth passes all.
"""

from pathlib import Path

import pytest

from pytest_mme import round_robin
from pytest_mme.errors import ContractError, ServerStartError

HANDLERS = Path(__file__).parent.parent / "handlers"


def the_right_one_and(name, reason, raises):
    """The handler that is expected to fail, for that *reason*, and the right one."""
    fails = pytest.mark.xfail(strict=True, reason=reason, raises=raises)
    return pytest.mark.parametrize("handler", [pytest.param(name, marks=fails), "on_demand"])


@the_right_one_and(
    "all_at_import", "one archive that cannot be loaded keeps the process from starting", ServerStartError
)
def test_a_bad_archive_harms_no_other(handler, mme_handler, mme_models):
    good, bad = mme_models.linear("good"), mme_models.forge(mme_models.linear("bad"), "cut-pb")
    server = mme_handler(HANDLERS / f"{handler}.py", [good, bad])
    with pytest.raises(ContractError):
        server.invoke(bad, [1.0])
    assert server.invoke(good, [1.0]) == good.answer([1.0])
    server.check_isolated(good=[good], bad=[bad])


@the_right_one_and("all_at_import", "all models together need more memory than there is", ServerStartError)
def test_more_models_than_fit_are_served_one_after_the_other(handler, mme_handler, mme_models):
    models = mme_models.fleet(5, weights_mib=200)
    server = mme_handler(HANDLERS / f"{handler}.py", models, memory_mib=980)
    for model in models:
        assert server.invoke(model, [1.0]) == model.answer([1.0])


@the_right_one_and("each_time", "every request loads its model and waits for that", AssertionError)
def test_a_model_that_was_asked_before_answers_at_once(handler, mme_handler, mme_models):
    warm_up, model = mme_models.fleet(2, weights_mib=50)
    server = mme_handler(HANDLERS / f"{handler}.py", [warm_up, model])
    for one in [warm_up] * 3 + [model] * 12:
        server.invoke(one, [1.0])
    asked = [event for event in server.timeline if event.kind == "invoke" and event.source == "client"]
    first, *later = [event.seconds for event in asked if event.model == model.name]
    assert sorted(later)[len(later) // 2] < first / 3


@the_right_one_and("filled_at_start", "a name that nobody knows gets the default's answer", pytest.fail.Exception)
def test_an_unknown_model_is_refused(handler, mme_handler, mme_models):
    server = mme_handler(HANDLERS / f"{handler}.py", [mme_models.linear("known")])
    with pytest.raises(ContractError, match="there is no model unknown"):
        server.client.invoke("unknown", b'{"instances": [[1.0]]}').expect("invoke of unknown")


@the_right_one_and(
    "filled_at_start", "requests that come at once share a global, and get each other's answers", AssertionError
)
def test_requests_that_come_at_once_do_not_mix(handler, mme_handler, mme_models, mme_traffic):
    models = mme_models.fleet(2)
    server = mme_handler(HANDLERS / f"{handler}.py", models)
    mme_traffic(server).closed(round_robin(models), clients=8, requests=600)
    server.check_concurrent(at_least=4)
    server.check_answers()
