#!/usr/bin/env bash
# Runs real processes under faults and judges their logs:
#
#   scripts/chaos.sh [--short] [--embedded] [--typescript] [SCENARIO …] [--seed N] [--logs FOLDER] …
#
# Scenarios are those of `harness list`; without one it is `chaos`. With --short, runs of half a minute
# with Rust and Python clients, as built for the tests. Else the full runs, with Rust clients and a
# release build. With --typescript the clients are those of clients/ts instead. With --embedded the
# server keeps its logs on disk. Options are those of `harness run --help`; `--proof
# docs/proof/NAME.json` records the totals. Exit code 0 means that no checker found anything and that
# every fault was met as often as is owed.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
target="${CARGO_TARGET_DIR:-$root/target}"

profile=release
typescript=
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
    --typescript) typescript=yes ;;
    -*)
        options+=("$1" "${2?$1 needs a value}")
        shift
        ;;
    *) scenarios+=("$1") ;;
    esac
    shift
done

# Hosts of their own, failing disks and clocks that jump; where they can't be had the harness says so.
source scripts/tools.sh
install_tools ip:iproute2 tc:iproute2 nft:nftables strace:strace prlimit:util-linux faketime:faketime

cargo build --locked --profile "$profile" -p bowline-cli -p bowline-harness
options+=(--server "$target/$folder/bowline")
if [[ -n "$typescript" ]]; then
    (cd clients/ts && npm ci --no-fund --no-audit --silent && npm run --silent driver)
    options+=(--driver "node $root/clients/ts/dist-driver/driver.mjs")
else
    cargo build --locked --profile "$profile" -p bowline-client --example driver
    options+=(--driver "$target/$folder/examples/driver")
fi
if [[ "$profile" == dev && -z "$typescript" ]]; then
    if python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
        options+=(--driver "python3 $root/examples/python/driver.py")
    else
        echo "NOT RUN: Python clients, because there is no python3 of at least 3.9"
    fi
fi
echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(nproc) cores"
"$target/$folder/harness" run "${scenarios[@]:-chaos}" "${options[@]}"
