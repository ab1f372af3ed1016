#!/usr/bin/env bash
# Checks and tests the TypeScript client: `scripts/ts.sh`. Needs Node 20 or later and npm.
# BOWLINE=path/to/bowline takes a server that is built already.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root/clients/ts"

fail() {
    echo "ts: FAILED: $*" >&2
    exit 1
}

command -v npm >/dev/null || fail "npm is missing: install Node.js 20 or later."
# Everybody installs from their own registry: the lock file names none but npm's.
if grep '"resolved"' package-lock.json | grep -vF '"https://registry.npmjs.org/'; then
    fail "package-lock.json names a registry of somebody's own."
fi
npm ci --no-fund --no-audit
npm run --silent codes -- --check
npm run --silent mutations -- --check
npm run --silent lint
npm run --silent check
npm run --silent build
npm run --silent api -- --check
npm run --silent types
npm run --silent package
npm run --silent size
npm run --silent metro
source "$root/scripts/tools.sh"
install_tools chromium:chromium
command -v chromium >/dev/null ||
    echo "ts: NOT RUN: the tests in a browser, because there is no chromium and it can't be installed."
# The tests talk to the real server: that of BOWLINE, or the one that is built here.
[[ -n "${BOWLINE:-}" ]] ||
    cargo build --locked --manifest-path "$root/Cargo.toml" -p bowline-cli
# One of the tests opens this example in the browser.
cargo build --locked --manifest-path "$root/Cargo.toml" -p bowline --example chat
# Statement coverage of the unit tests is held to the bound in vitest.config.ts.
npm run --silent coverage -- --coverage.reporter=text-summary
npm test -- --project e2e --project browser
