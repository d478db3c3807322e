#!/bin/sh
# Make the virtual environment DIR with bevkd, its pinned dependencies and its compiled ops: sh tools/make_env.sh [DIR]
# PYTHON=python3.12 picks the interpreter.
set -eu
dir=${1:-.venv}

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' 2>/dev/null
}

if [ ! -x "$dir/bin/python" ] || ! "$dir/bin/python" -m pip --version >/dev/null 2>&1; then
    for python in ${PYTHON:-python3.11 python3.12 python3.10 python3}; do
        if supported "$python"; then found=$python; break; fi
    done
    if [ -z "${found:-}" ]; then
        echo "error: no Python 3.10, 3.11 or 3.12 found on PATH (PYTHON=... names one)" >&2
        exit 2
    fi
    if ! "$found" -m venv --clear "$dir"; then
        echo "error: $found cannot make virtual environments; on Debian install python3-venv" >&2
        exit 2
    fi
fi
if ! command -v "${CXX:-c++}" >/dev/null 2>&1; then
    echo "error: no C++ compiler found (${CXX:-c++}); on Debian install g++" >&2
    exit 2
fi

pip="$dir/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt"
echo "bevkd: installing pinned packages into $dir (about two minutes after the downloads)"
# The build of csrc sees this very torch, so torch comes first and build isolation is off.
$pip setuptools wheel ninja torch numpy
$pip -e '.[mmcv-lite,dev]' --no-build-isolation
echo "bevkd: ready"
