#!/usr/bin/env bash
# Runs what depends on redis-py with each of its major versions, the oldest and the newest of the
# first: connections of every kind, and the conformance rows of one server.
#
#     bash tests/redis/versions.sh [VERSION...]
#
# A version is what pip understands behind "redis". PYTHON is the interpreter that has fanout and
# its test extra installed; each version is installed into a directory of its own, not there.
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=${PYTHON:-.venv/bin/python}
if [ $# -eq 0 ]; then
    set -- "==5.0.0" "==5.*" "==6.*" "==7.*" "==8.*"
fi

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

for version in "$@"; do
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile \
        --target "$place/redis$version" "redis[hiredis]$version"
    export PYTHONPATH="$place/redis$version"
    "$PYTHON" -c 'import redis; print("redis-py", redis.__version__, "of", redis.__path__[0])'
    "$PYTHON" -m pytest -q -p no:cacheprovider tests/redis/test_login.py tests/redis/test_sentinel.py \
        tests/redis/test_cluster.py::test_all_nodes_are_used tests/redis/test_addresses.py
    "$PYTHON" -m pytest -q -p no:cacheprovider tests/conformance -k "valkey and not lists and not cluster"
    unset PYTHONPATH
done
