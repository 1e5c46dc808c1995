#!/usr/bin/env bash
# Install aiperf, a load generator nobody here wrote, into .venv-aiperf and print the path of
# its command.
#
# In an environment of its own: it wants other versions of libraries that we use as well.
# AIPERF_VENV says where, AIPERF_PYTHON what Python 3.11 to build it with.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${AIPERF_VENV:-$(dirname "$here")/.venv-aiperf}
python=${AIPERF_PYTHON:-python3.11}
requirements=$here/aiperf_requirements.txt
# The stamp is written last: what has none is half an install, and is built from nothing.
wanted=$(sha256sum <"$requirements")
if [[ $(cat "$venv/.complete" 2>/dev/null) != "$wanted" ]]; then
  "$python" -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --no-deps --no-compile --disable-pip-version-check -r "$requirements"
  echo "$wanted" >"$venv/.complete"
fi
echo "$venv/bin/aiperf"
