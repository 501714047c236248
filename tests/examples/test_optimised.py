"""What docs/optimised.md shows."""

from __future__ import annotations


def test_the_optimised_model_answers(mme_models, mme_server):
    model = mme_models.keras()
    optimised = mme_models.optimised(model, inputs={"x": [[1.0], [2.0]]})
    server = mme_server(memory_mib=300)
    server.load(optimised)
    assert server.invoke(optimised, [1.0]) == model.answer([1.0])
