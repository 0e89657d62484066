#!/bin/sh
# Write cluster/requirements.txt and cluster/requirements-dev.txt from pyproject.toml, for Python 3.10 to 3.13.
#
#   sh cluster/lock.sh                           keeps every pin that still satisfies pyproject.toml
#   sh cluster/lock.sh --upgrade-package NAME    upgrades one package
#   sh cluster/lock.sh --upgrade                 upgrades all packages
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

resolve() {
    # uv also reads the output file, and prefers its pins.
    output=$1
    shift
    "${UV:-uv}" pip compile pyproject.toml --universal --python-version 3.10 --no-header \
        --annotation-style line --quiet --output-file "$output" "$@"
}

pins() {
    if [ -f "$1" ]; then grep -E '^[A-Za-z0-9]' "$1"; fi
}

# First resolve both together: a development package can hold back a package of the nodes, as botocore does with
# dateutil.
pins cluster/requirements.txt >"$work/dev.txt"
pins cluster/requirements-dev.txt >>"$work/dev.txt"
resolve "$work/dev.txt" --extra dev "$@"
cp "$work/dev.txt" "$work/run.txt"
resolve "$work/run.txt"
{
    cat <<'HEADER'
# Environment of every node: all packages that rayview needs, each pinned to one version.
# Written by `make lock` (sh cluster/lock.sh) from pyproject.toml; do not edit.
# Without torch's CUDA packages: its CUDA build pins them itself, and its CPU build needs none.
HEADER
    grep -vE '^(nvidia-|cuda-|triton==)' "$work/run.txt"
} >"$work/requirements.txt"
{
    cat <<'HEADER'
# Additional packages for development; also installs the environment of the nodes.
# Written by `make lock` (sh cluster/lock.sh) from the extra `dev` of pyproject.toml; do not edit.
-r requirements.txt
HEADER
    # Triton runs the kernel tests; a CPU build of torch does not include it.
    awk 'NR == FNR { seen[$1]; next } !($1 in seen) || /^triton==/' "$work/run.txt" "$work/dev.txt"
} >"$work/requirements-dev.txt"

mv "$work/requirements.txt" "$work/requirements-dev.txt" cluster/
