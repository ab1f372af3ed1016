#!/usr/bin/env bash
# Runs the scenario `chaos`: many clients on many channels, through links that break at random.
#
#   scripts/chaos.sh [--short] [--seed N] [--logs FOLDER] …
#
# With --short, a run of half a minute with Rust and Python clients, as built for the tests. Else the full
# run: 200 Rust clients, 100,000 publications, a release build. Further options are those of
# `harness run chaos --help`. Exit code 0 means that no checker found anything and that every fault
# was met as often as is owed.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
target="${CARGO_TARGET_DIR:-$root/target}"
arguments=("$@")
python=(python3 "$root/examples/python/driver.py")

profile=release
folder=release
for argument in "$@"; do
    if [[ "$argument" == --short ]]; then
        profile=dev
        folder=debug
    fi
done

cargo build --locked --profile "$profile" -p bowline-cli -p bowline-harness
cargo build --locked --profile "$profile" -p bowline-client --example driver
drivers=(--driver "$target/$folder/examples/driver")
if [[ "$profile" == dev ]]; then
    if python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
        drivers+=(--driver "${python[*]}")
    else
        echo "NOT RUN: chaos with Python clients, because there is no python3 of at least 3.9"
    fi
fi
echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), on $(nproc) cores"
exec "$target/$folder/harness" run chaos --server "$target/$folder/bowline" "${drivers[@]}" "${arguments[@]}"
