#!/usr/bin/env bash
# Sees to a container engine: where none answers, Debian's docker.io is installed and its dockerd started, as root.
# Installs Podman, too, which a test starts by itself.
# `tools/engine.sh FILE` writes the pid of a dockerd that it started to FILE, for whoever ends it.
set -euo pipefail

answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

install() {
  echo "installing $*"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

command -v podman >/dev/null || install podman iptables
if answers; then exit; fi
command -v dockerd >/dev/null || install docker.io debootstrap iptables
rm -f /var/run/docker.pid /var/run/docker/containerd/containerd.pid  # of a dockerd that was killed
log=$(mktemp --suffix=-dockerd.log)
nohup dockerd >"$log" 2>&1 </dev/null &
echo $! >"${1:-/dev/null}"
for _ in $(seq 120); do
  if answers; then echo "dockerd answers"; exit; fi
  sleep 0.5
done
echo "dockerd does not answer; the end of its log:"
tail -20 "$log"
exit 1
