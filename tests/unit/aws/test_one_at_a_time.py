"""There is one simulated AWS at a time."""

from __future__ import annotations

import contextlib
import os

import pytest

from pytest_mme import Run


@pytest.fixture(autouse=True)
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of before."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")


@pytest.mark.parametrize("first_to_end", [0, 1], ids=["the outer first", "the inner first"])
def test_blocks_that_overlap_have_the_same_until_the_last_ends(first_to_end: int) -> None:
    with Run() as run:
        blocks = [contextlib.ExitStack(), contextlib.ExitStack()]
        outer, inner = (block.enter_context(run.aws()) for block in blocks)
        assert inner is outer
        blocks.pop(first_to_end).close()
        assert os.environ["AWS_ACCESS_KEY_ID"] == "pytest-mme"
        assert [one["Name"] for one in outer.s3.list_buckets()["Buckets"]] == [outer.bucket]
        blocks.pop().close()
        assert os.environ["AWS_ACCESS_KEY_ID"] == "mine"


def test_another_one_begins_afresh() -> None:
    with Run() as run:
        with run.aws() as first:
            first.s3.create_bucket(Bucket="mine")
        with run.aws() as second:
            assert second is not first
            assert [one["Name"] for one in second.s3.list_buckets()["Buckets"]] == [second.bucket]


def test_an_error_in_the_block_ends_it() -> None:
    with Run() as run:
        with pytest.raises(ZeroDivisionError), run.aws():
            _ = 1 / 0
        assert os.environ["AWS_ACCESS_KEY_ID"] == "mine"
