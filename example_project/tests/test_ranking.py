"""What the shops rely on, tested without deploying anything. The models are tiny stand-ins with known predictions."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from ranking.client import Client


def test_each_country_has_its_own_model(mme_endpoint, mme_models):
    germany, france = mme_models.linear("ranking-de"), mme_models.linear("ranking-fr")
    mme_endpoint([germany, france], name="ranking")
    client = Client("ranking")
    assert client.rank("de", [1.0, 2.0]) == pytest.approx(germany.answer([1.0, 2.0]).value)  # float32 in few digits
    assert client.rank("fr", [1.0, 2.0]) == pytest.approx(france.answer([1.0, 2.0]).value)
    assert client.rank("de", [1.0, 2.0]) != client.rank("fr", [1.0, 2.0])


def test_an_evicted_country_comes_back(mme_endpoint, mme_models):
    a, b, c = models = mme_models.fleet(3, name="ranking", weights_mib=50)
    endpoint = mme_endpoint(models, name="ranking", fits=2)
    client = Client("ranking")
    for model in (a, b, c, a):
        assert client.predict(model.name, [1.0]) == model.answer([1.0])
    endpoint.check_evicted(a, b)
    endpoint.check_resident(c, a)


def test_the_client_waits_for_a_model_that_is_still_loading(mme_endpoint, mme_models):
    model = mme_models.linear("ranking-de", weights_mib=50)
    mme_endpoint([model], name="ranking", ready_s=0.01)
    with pytest.raises(ClientError, match="ModelNotReadyException"):
        Client("ranking", pauses_s=()).predict(model.name, [1.0])
    patient = Client("ranking", pauses_s=[0.05] * 100)
    assert patient.predict(model.name, [1.0]) == model.answer([1.0])


def test_an_unknown_country_is_the_callers_mistake(mme_endpoint, mme_models):
    mme_endpoint([mme_models.linear("ranking-de")], name="ranking")
    with pytest.raises(ClientError, match="Failed to download model data") as refused:
        Client("ranking").rank("atlantis", [1.0])
    assert refused.value.response["Error"]["Code"] == "ValidationError"


def test_features_that_the_model_cannot_take_are_its_client_error(mme_endpoint, mme_models):
    mme_endpoint([mme_models.linear("ranking-de")], name="ranking")
    with pytest.raises(ClientError, match="ModelError") as refused:
        Client("ranking").rank("de", ["not", "numbers"])
    assert refused.value.response["OriginalStatusCode"] == 400


def test_two_countries_asked_at_once_do_not_mix(mme_endpoint, mme_models):
    germany, france = mme_models.linear("ranking-de", sleep_ms=5), mme_models.linear("ranking-fr", sleep_ms=5)
    mme_endpoint([germany, france], name="ranking")
    client = Client("ranking")

    def ask(number):
        model = (germany, france)[number % 2]
        return client.predict(model.name, [float(number)]) == model.answer([float(number)])

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(100)))
