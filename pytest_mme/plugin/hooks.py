"""The entry point: what the plugin consists of. Loading it costs nothing (tests/test_layers.py holds that)."""

from __future__ import annotations

import pytest

from pytest_mme.plugin import (
    doctor_items,
    evidence,
    fixtures,
    header,
    marks,
    options,
    reporting,
    run,
    sharing,
    sigterm,
    soft_checks,
    tensorflow_versions,
)

FEATURES = (
    sigterm,  # SIGTERM ends a session like Ctrl-C
    header,  # one line on how the session is set up
    run,  # the run that a session's tests share, also across xdist's workers
    fixtures,  # what tests use
    marks,  # @pytest.mark.mme(…): a test's defaults for the factories
    tensorflow_versions,  # --mme-tf: each test once on each of these versions
    doctor_items,  # --mme-doctor: each archive is a test
    sharing,  # what several tests use: each has its slice of it, and none inherits a broken one
    soft_checks,  # checks with soft=True fail their test at its end
    evidence,  # what a failing test shows
    reporting,  # the summaries in the terminal, and the file of --mme-report
)
"""Modules with hooks or fixtures, one feature each. `-p no:mme` switches all of them off."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add each option in its spellings."""
    options.add_to(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Settle the options, then let each feature join in."""
    config.stash[options.SETTINGS] = options.resolve(config)
    for feature in FEATURES:
        config.pluginmanager.register(feature)
