"""The single forgeries, by what they change: `pytest_mme.models.forge` has them all."""
