"""What docs/checks.md shows."""

from pytest_mme import zipf


def test_what_an_endpoint_does_under_load(mme_endpoint, mme_models, mme_traffic):
    models = mme_models.fleet(3, weights_mib=40)
    endpoint = mme_endpoint(models, fits=2)
    load = mme_traffic(endpoint).closed(zipf(models), clients=4, requests=60)
    assert set(load.outcomes) <= {"ok", "ModelError"}  # 507 where both models in memory are busy
    endpoint.check_answers(at_least=30)
    endpoint.check_capacity(2)
    endpoint.check_concurrent(at_least=2)
    endpoint.check_evictions(at_most=60, soft=True)
    endpoint.check_no_thrash(hit_ratio=0.1, soft=True)
