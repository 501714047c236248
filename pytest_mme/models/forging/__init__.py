"""The single forgeries, by what they change: `pytest_mme.models.forging.forge` has them all."""
