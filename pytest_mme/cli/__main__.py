"""`python -m pytest_mme.cli`."""

from pytest_mme.cli import app

app()
