"""The README's test."""


def test_a_third_model_evicts_the_idle_one(mme_endpoint, mme_models):
    a, b, c = mme_models.fleet(3, weights_mib=100)
    endpoint = mme_endpoint([a, b, c], fits=2)
    for model in (a, b, a, c):
        assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    endpoint.check_evicted(b)
