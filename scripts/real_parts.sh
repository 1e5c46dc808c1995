#!/usr/bin/env bash
# Install what the tests against real parts need and do not install themselves: Envoy.
set -euo pipefail
"$(dirname "${BASH_SOURCE[0]}")/envoy.sh" >/dev/null
