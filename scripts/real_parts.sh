#!/usr/bin/env bash
# Install what the tests against real parts need and do not install themselves: Envoy, aiperf.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
"$here/envoy.sh" >/dev/null
"$here/aiperf.sh" >/dev/null
