#!/usr/bin/env bash
# Pin what the image installs, and what builds it, with the hashes of every file of each
# version: deploy/requirements.lock from the extra "image", deploy/build.lock from what
# pyproject.toml builds with. Asks the package index; say it again after changing either.
#   scripts/lock.sh [--upgrade]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
  [ -x .work/uv/bin/uv ] || {
    "$(command -v python3.11 || command -v python3)" -m venv .work/uv
    .work/uv/bin/pip install --quiet --disable-pip-version-check uv
  }
  uv=.work/uv/bin/uv
fi

# The image's Python and system; x86-64 and arm64 have the same versions, by other files.
compile() {
  "$uv" pip compile "$@" --quiet --python-version 3.11 --python-platform linux \
    --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
    --custom-compile-command "scripts/lock.sh"
}

compile pyproject.toml --extra image --output-file deploy/requirements.lock "$@" >/dev/null
build_needs='
import sys, tomllib
with open("pyproject.toml", "rb") as file:
    told = tomllib.load(file)
hook = told["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
print(*told["build-system"]["requires"], *hook["dependencies"], sep="\n")
'
needs=$(mktemp)
trap 'rm -f "$needs"' EXIT
python3 -c "$build_needs" >"$needs"
compile "$needs" --constraint deploy/requirements.lock --output-file deploy/build.lock "$@" >/dev/null
