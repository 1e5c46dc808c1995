#!/usr/bin/env bash
# Install what the tests against real parts need: Envoy, and from the system Chromium and
# Prometheus.
set -euo pipefail
"$(dirname "${BASH_SOURCE[0]}")/envoy.sh" >/dev/null
missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v promtool >/dev/null || missing+=(prometheus)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "the tests against real parts need: ${missing[*]}; install them and run again" >&2
  exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
