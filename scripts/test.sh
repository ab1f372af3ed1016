#!/usr/bin/env bash
# Runs all tests of the project: `scripts/test.sh`. Installs what is missing. A part that can't run
# on this machine prints NOT RUN and why.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$*"; }

step "Rust tests"
cargo test --workspace --locked

step "Interleavings of broadcast, rise, takeover and unsubscribe"
cargo test --locked -p bowline --lib --features interleavings interleavings

step "Clients for Windows and macOS"
for target in x86_64-pc-windows-gnu x86_64-apple-darwin; do
    rustup target add "$target"
    cargo check --locked --target "$target" -p bowline-ws -p bowline-proto -p bowline-client
done

step "Real processes under faults"
scripts/chaos.sh --short chaos restarts kinds pairs
scripts/chaos.sh --short kill-random

step "The durable log: power cuts, kills, failing disks, damage"
scripts/disk.sh --short

step "Records of long runs"
python3 scripts/test_proof.py
scripts/proof.py check

step "The HTTP side against its description"
scripts/schemathesis.sh short

step "Hostile clients"
scripts/hostile.sh

step "Planted panics still fit the code"
for patch in fuzz/plants/*.patch; do git apply --check "$patch"; done

step "Simulation"
scripts/sim.sh

step "What the lock files bring in"
python3 scripts/test_audit.py
scripts/audit.py

step "The example in Python"
(cd examples/python && python3 -m unittest)

step "The TypeScript client"
scripts/ts.sh

step "Autobahn"
python3 -m unittest discover -s scripts/autobahn -p 'test_*.py'
scripts/autobahn.sh all
