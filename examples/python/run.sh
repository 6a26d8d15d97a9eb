#!/bin/sh
# Runs service.py, shared from this folder, with the Python of an image: run.sh IMAGE.tar [PORT]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec runvm "$1" -p "${2:-8000}:8000" -v "$here:/srv:ro" -w /srv -u 1000:1000 --hostname app \
    --read-only --tmpfs /tmp --entrypoint python3 -- service.py
