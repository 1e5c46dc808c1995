#!/usr/bin/env bash
# Put OpenTelemetry's own definitions back: xds-protos brings older ones of the same names, and
# whichever pip unpacks last is there. PYTHON is the interpreter they are installed for.
set -euo pipefail
python=${1:?usage: telemetry_protos.sh PYTHON}
pinned=$("$python" -c "from importlib.metadata import version as v; print('opentelemetry-proto==' + v('opentelemetry-proto'))")
"$python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "$pinned"
