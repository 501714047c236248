"""Locust makes the requests of a mix, from several processes."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_mme import Endpoint, Models, zipf
from tests.docs.pages import blocks
from tests.lacking import lacking

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
LOCUST = ROOT / ".locust" / "bin" / "locust"
ORDER = ("--headless", "--users", "4", "--spawn-rate", "4", "--run-time", "5s", "--processes", "2", "--csv", "found")


def test_a_mix_from_several_processes(
    mme_endpoint: Callable[..., Endpoint], mme_models: Models, tmp_path: Path
) -> None:
    locust = shutil.which("locust", path=f"{LOCUST.parent}{os.pathsep}{os.environ['PATH']}")
    if locust is None:
        lacking("there is no locust: tools/locust.sh installs it")
    models = mme_models.fleet(3)
    endpoint = mme_endpoint(models)
    for model in models:
        endpoint.invoke(model, [1.0])
    mix = zipf(models, s=1.5, seed=1)
    targets = [model.key for model in itertools.islice(mix.start(), 1000)]
    environment = {
        **os.environ,
        "TARGETS": json.dumps(targets),
        "ENDPOINT": endpoint.name,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    (locustfile,) = (
        block for block in blocks(ROOT / "docs" / "checks.md", "python") if "from locust import" in block.text
    )
    (tmp_path / "locustfile.py").write_text(locustfile.text)
    order = [locust, "-f", "locustfile.py", *ORDER]
    done = subprocess.run(
        order, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "found_stats.csv").open() as file:
        found = {row["Name"]: (int(row["Request Count"]), int(row["Failure Count"])) for row in csv.DictReader(file)}
    counts = [found[model.key][0] for model in models]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] > 0
    assert found["Aggregated"][1] == 0
    endpoint.check_concurrent(at_least=2)
