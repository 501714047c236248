"""A model that needs more than there is, on a server that does not refuse it: the kernel ends that model's process."""

import pytest
from botocore.exceptions import ClientError


@pytest.mark.mme(memory_mib=200, admission="none")
def test_a_greedy_model_takes_no_neighbour_with_it(mme_endpoint, mme_models):
    greedy, modest = mme_models.linear("greedy", allocate_mib=400, sleep_ms=200), mme_models.linear("modest")
    endpoint = mme_endpoint([greedy, modest])
    endpoint.invoke(modest, [1.0])
    with pytest.raises(ClientError, match="killed for lack of memory"):
        endpoint.invoke(greedy, [1.0])
    assert endpoint.invoke(modest, [1.0]) == modest.answer([1.0])
    assert [event.model for event in endpoint.timeline if event.kind == "oom"] == ["greedy"]
