#!/usr/bin/env bash
# Makes an image to build on from Debian's packages, for where no image registry can be reached: base_image.sh NAME
set -euo pipefail

name=$1
if docker image inspect "$name" >/dev/null 2>&1; then exit; fi
if ! command -v debootstrap >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
fi
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
echo "making $name from Debian's packages"
debootstrap --variant=minbase bookworm "$root" >/dev/null
tar -C "$root" --exclude='./var/cache/apt/archives/*.deb' --exclude='./var/lib/apt/lists/*' -c . | docker import - "$name"
