#!/usr/bin/env bash
# Install what the tests of everything that people look at need: Chromium and Prometheus from
# Debian, Grafana's types through npm into .work/npm. What cannot be installed is named in one
# line, and the tests that need it are skipped.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v promtool >/dev/null || missing+=(prometheus)
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
      --no-install-recommends "${missing[@]}"; } >/dev/null 2>&1 ||
      echo "could not install ${missing[*]}: tests that need them are skipped" >&2
  else
    echo "not installed, so tests that need them are skipped: ${missing[*]}" >&2
  fi
fi

# Grafana's types of the release that the dashboards are written for.
wanted="@grafana/schema@11.6.9 typescript@5.9.3"
if ! command -v npm >/dev/null; then
  echo "npm is not installed: the dashboards are not held against Grafana's types" >&2
elif [ "$(cat .work/npm/installed 2>/dev/null)" != "$wanted" ]; then
  mkdir -p .work/npm
  # shellcheck disable=SC2086  # two words
  if npm install --prefix .work/npm --silent --no-audit --no-fund --ignore-scripts \
    --save-exact $wanted >/dev/null 2>&1; then
    echo "$wanted" >.work/npm/installed
  else
    echo "npm could not install $wanted: the dashboards are not held against them" >&2
  fi
fi
exit 0
