#!/usr/bin/env bash
# Installs Locust into an environment of its own, .locust: it brings gevent, and a pytest plugin.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

test -x .locust/bin/locust && exit
"${PYTHON:-python3}" -m venv .locust
.locust/bin/pip install -q locust boto3
