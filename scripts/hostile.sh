#!/usr/bin/env bash
# Attacks live servers and judges what comes of it:
#
#   scripts/hostile.sh [SCENARIO] [OPTION …]
#
# The scenario is `hostile` without one: every case of crates/harness/src/hostile/table. `harness list`
# shows the others. Options are those of `harness run --help`. With BOWLINE_PROFILE=release the programs
# are built so, else as for the tests.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
target="${CARGO_TARGET_DIR:-$root/target}"
profile="${BOWLINE_PROFILE:-dev}"
folder="$profile"
[[ "$profile" == dev ]] && folder=debug

source scripts/tools.sh
install_tools strace:strace
cargo build --locked --profile "$profile" -p bowline-cli -p bowline-harness
cargo build --locked --profile "$profile" -p bowline --example misbehaving
scenario=hostile
if (($#)) && [[ "$1" != -* ]]; then
    scenario="$1"
    shift
fi
# Ten thousand connections are as many descriptors.
ulimit -n "$(ulimit -Hn)"
exec "$target/$folder/harness" run "$scenario" --server "$target/$folder/bowline" "$@"
