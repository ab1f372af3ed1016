#!/usr/bin/env bash
# Runs the scenarios about the durable log, most of them as root:
#
#   scripts/disk.sh [--short] [SCENARIO …] [--seed N] [--rounds N] [--proof FILE] …
#
# Scenarios are power-cut, power-cut-lies, kill-at-sync, older-copy, disk-full, read-only, eio, slow-disk and
# damage; without one, all of them. With --short, a few rounds of each, as built for the tests; else the
# full runs, with a release build. What can't run on a machine prints NOT RUN and why.
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
    -*)
        options+=("$1" "${2?$1 needs a value}")
        shift
        ;;
    *) scenarios+=("$1") ;;
    esac
    shift
done
if ((${#scenarios[@]} == 0)); then
    scenarios=(power-cut power-cut-lies kill-at-sync older-copy disk-full read-only eio slow-disk damage)
fi

source scripts/tools.sh
install_tools strace:strace eatmydata:eatmydata mkfs.ext4:e2fsprogs losetup:mount python3:python3

cargo build --locked --profile "$profile" -p bowline-cli -p bowline-harness
cargo build --locked --profile "$profile" -p bowline-engine --example damage
echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(nproc) cores"
for scenario in "${scenarios[@]}"; do
    "$target/$folder/harness" run "$scenario" --server "$target/$folder/bowline" "${options[@]}"
done
