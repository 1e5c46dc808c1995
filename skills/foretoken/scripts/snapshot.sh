#!/bin/sh
# Write what a running Foretoken says of itself into a folder: reads only, changes nothing.
#
#   snapshot.sh http://127.0.0.1:8000 OUT
#
# FORETOKEN_API_KEY, where set, is sent as an admin's key. What cannot be had is named on
# stderr, and the rest is taken; the exit status is 1 if nothing answered, 2 for wrong usage.
set -u

if [ $# -ne 2 ]; then
    echo "usage: $0 ROUTER FOLDER" >&2
    exit 2
fi
router=${1%/}
out=$2
mkdir -p "$out" || exit 2

answered=1

# The key goes by a file descriptor, not by the command line, where every process sees it.
take() {
    if [ -n "${FORETOKEN_API_KEY:-}" ]; then
        status=$(printf 'header = "Authorization: Bearer %s"\n' "$FORETOKEN_API_KEY" |
            curl -sS -m 10 -K - -o "$out/$2" -w '%{http_code}' "$router$1")
    else
        status=$(curl -sS -m 10 -o "$out/$2" -w '%{http_code}' "$router$1")
    fi || {
        echo "$1: no answer" >&2
        return
    }
    answered=0
    # /ready says 503, with what is down, while no endpoint is up: that is an answer.
    case "$1:$status" in
    *:200 | /ready:503) ;;
    *) echo "$1: status $status" >&2 ;;
    esac
}

take /health health.json
take /ready ready.json
take /v1/models served-models.json
take /metrics metrics.txt
take /foretoken/mode mode.json
take /foretoken/deciding deciding.json
take /foretoken/endpoints endpoints.json
take /foretoken/models models.json
take "/foretoken/decisions?limit=200" decisions.json

date -u +%Y-%m-%dT%H:%M:%SZ >"$out/taken-at.txt"
exit $answered
