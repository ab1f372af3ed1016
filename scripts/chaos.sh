#!/usr/bin/env bash
# Runs real processes under faults and judges their logs:
#
#   scripts/chaos.sh [--short] [--embedded] [SCENARIO …] [--seed N] [--logs FOLDER] …
#
# Scenarios are those of `harness list`; without one it is `chaos`. With --short, runs of half a minute
# with Rust and Python clients, as built for the tests. Else the full runs, with Rust clients and a
# release build. With --embedded the server keeps its logs on disk. Options are those of `harness run --help`. Exit code 0 means that no checker found
# anything and that every fault was met as often as is owed.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
target="${CARGO_TARGET_DIR:-$root/target}"

profile=release
folder=release
scenarios=()
options=()
while (($#)); do
    case "$1" in
    --short)
        profile=dev
        folder=debug
        options+=("$1")
        ;;
    --embedded) options+=("$1") ;;
    -*)
        options+=("$1" "${2?$1 needs a value}")
        shift
        ;;
    *) scenarios+=("$1") ;;
    esac
    shift
done

cargo build --locked --profile "$profile" -p bowline-cli -p bowline-harness
cargo build --locked --profile "$profile" -p bowline-client --example driver
options+=(--server "$target/$folder/bowline" --driver "$target/$folder/examples/driver")
if [[ "$profile" == dev ]]; then
    if python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
        options+=(--driver "python3 $root/examples/python/driver.py")
    else
        echo "NOT RUN: Python clients, because there is no python3 of at least 3.9"
    fi
fi
echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(nproc) cores"
for scenario in "${scenarios[@]:-chaos}"; do
    "$target/$folder/harness" run "$scenario" "${options[@]}"
done
