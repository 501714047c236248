#!/usr/bin/env bash
# Sees to the browser that a test opens the report in: Debian's Chromium and its driver, as root.
set -euo pipefail

command -v chromium >/dev/null && command -v chromedriver >/dev/null && exit
echo "installing chromium chromium-driver"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null
