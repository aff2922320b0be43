#!/usr/bin/env bash
# Runs the core's tests and the fuzzer's corpus on a build with AddressSanitizer,
# UndefinedBehaviorSanitizer and FANOUT_DEBUG, whose counts must be equal at the end.
#
# Builds in a directory of its own, so the installed build stays what it is.
# PYTHON: an interpreter with the `test` extra and the build's requirements
# (default .venv/bin/python); CC: gcc (default). Other arguments go to pytest.
set -euo pipefail

source=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$source/.venv/bin/python}
case $python in
    /*) ;;
    */*) python=$PWD/$python ;;
    *) python=$(command -v "$python") ;;
esac
compiler=${CC:-gcc}
minutes=${SANITIZE_MINUTES:-20}

say() { echo "sanitize: $*"; }

library() {     # the sanitizer's runtime, which must be there before the interpreter
    local path
    path=$($compiler -print-file-name="$1")
    if [ ! -e "$path" ]; then
        say "$compiler has no $1: install gcc with its sanitizers (Debian: libasan, libubsan)" >&2
        exit 1
    fi
    readlink -f "$path"
}

asan=$(library libasan.so)
ubsan=$(library libubsan.so)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
logs=$work/logs
mkdir "$tree" "$logs"

say "copying the sources to $tree"
(cd "$source" && tar cf - --exclude='*.so' --exclude='fanout/*.c' --exclude='__pycache__' \
    setup.py pyproject.toml README.md LICENSE fanout python tests) | (cd "$tree" && tar xf -)

if ! "$python" -c "import Cython, setuptools" 2>/dev/null; then
    say "installing what the build needs into $work/build"
    "$python" -m pip install --quiet --target "$work/build" "setuptools>=80" "cython>=3.3,<4"
    export PYTHONPATH=$work/build
fi

say "building with $compiler, address and undefined, FANOUT_DEBUG=1"
(
    cd "$tree"
    FANOUT_DEBUG=1 FANOUT_SANITIZE=1 CC=$compiler LDSHARED="$compiler -shared" \
        "$python" setup.py --quiet build_ext --inplace --parallel 2
) >"$work/build.log" 2>&1 || { cat "$work/build.log"; say "the build failed"; exit 1; }

# Leaks are the interpreter's own at its exit; ours are in the counts.
# A finding ends the process at once, and is also in the log's directory, since
# pytest captures what a test's process writes.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:handle_segv=1:detect_stack_use_after_return=1:log_path=$logs/asan
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:log_path=$logs/ubsan
export PYTHONMALLOC=malloc              # so that every object is watched
export PYTHONPATH=$tree/python
export LD_PRELOAD="$asan $ubsan"

say "the tests run $("$python" -c 'import fanout._hub, fanout._memory as m
assert m.debug_enabled(); print(fanout._hub.__file__)')"
status=0
(
    cd "$tree"
    timeout --kill-after=10 "${minutes}m" "$python" -m pytest \
        -p no:cacheprovider -q "$@" tests/core tests/model tests/hazards tests/fuzz
) || status=$?

if compgen -G "$logs/*" >/dev/null; then
    say "findings:"
    cat "$logs"/*
    [ "$status" -ne 0 ] || status=1
fi
if [ "$status" -eq 124 ]; then
    say "not finished in $minutes minutes"
fi
[ "$status" -eq 0 ] && say "nothing found"
exit "$status"
