#!/usr/bin/env bash
# Known vulnerabilities and licences of what the image installs (deploy/requirements.lock).
#   scripts/audit.sh [PYTHON] [options of pip-audit, as --ignore-vuln ID]
# Exit status 1: a vulnerability is known, or a licence is not on the list. Where nobody can
# be asked for vulnerabilities a warning says so, and that alone is no failure.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:-.venv/bin/python}
shift || true
failed=0

found=$(mktemp)
said=$(mktemp)
trap 'rm -f "$found" "$said"' EXIT
for service in pypi osv; do
  "$python" -m pip_audit --vulnerability-service "$service" --disable-pip --require-hashes \
    --requirement deploy/requirements.lock --requirement deploy/build.lock \
    --progress-spinner off --timeout 15 --format json "$@" >"$found" 2>"$said"
  "$python" -m scripts.audited "$service" "$found"
  status=$?
  [ $status -ne 2 ] && break  # 2: this service could say nothing of anything
done
if [ $status -eq 2 ]; then
  echo "WARNING: nobody could be asked for known vulnerabilities: $(tail -n 1 "$said")" >&2
elif [ $status -ne 0 ]; then
  failed=1
fi

"$python" -m scripts.licences || failed=1
exit $failed
