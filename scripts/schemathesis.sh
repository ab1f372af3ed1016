#!/usr/bin/env bash
# Holds the HTTP side to its own description: schemathesis reads /openapi.json and looks for answers
# that it does not allow, for errors of the server (5xx), and for doors that are open without a token.
#
#   scripts/schemathesis.sh [short|full] [--seed N]
#
# `short`, the default, takes about half a minute, `full` several. Both run against a server in
# development mode, which asks for no token, and against one with an API key and an admin's token.
# Exit code 1 where anything was found. schemathesis is installed into a venv when it is missing.
# Settings, by environment:
#   SCHEMATHESIS_VENV    where that venv is (default: schemathesis in cargo's target folder)
#   SCHEMATHESIS_SERVER  a built `bowline` to test instead of the debug build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target="${CARGO_TARGET_DIR:-$PWD/target}"
venv="${SCHEMATHESIS_VENV:-$target/schemathesis/venv}"
version=4.32.5
length=short
seed=1
while (($#)); do
    case "$1" in
        short | full) length="$1" ;;
        --seed) seed="$2"; shift ;;
        *) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift
done
case "$length" in
    short) examples=8 seconds=15 ;;
    full) examples=200 seconds=240 ;;
esac

if ! "$venv/bin/st" --version 2>/dev/null | grep -q "$version"; then
    # Debian keeps what a venv is made with in a package of its own.
    if ! python3 -c 'import ensurepip' 2>/dev/null; then
        source scripts/tools.sh
        install_tools ensurepip:python3-venv
    fi
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi
server="${SCHEMATHESIS_SERVER:-}"
if [[ -z "$server" ]]; then
    cargo build --quiet --locked -p bowline-cli
    server="$target/debug/bowline"
fi

work="$(mktemp -d)"
pid=
stop() {
    if [[ -n "$pid" ]]; then
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    fi
    pid=
}
trap 'stop; rm -rf "$work"' EXIT

# Starts a server on a free port with these arguments, and sets `url`.
start() {
    # The server before wrote its address there; what it says must not be taken for this one's.
    : >"$work/out"
    "$server" serve --listen 127.0.0.1:0 --set engine.kind=memory --log-level error "$@" \
        >"$work/out" 2>"$work/err" &
    pid=$!
    for _ in $(seq 200); do
        url="$(sed -n 's/^bowline is listening on //p' "$work/out")"
        [[ -n "$url" ]] && return
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    cat "$work/err" >&2
    exit 1
}

# What the description can't tell: a key that was used before for something else (422), and that
# the header and the body must name the same key, and a body of bytes a channel (400). A token that
# is made up passes for none in development mode, where none is asked for. And the status of a verdict
# is what it has to say, of any text: 400 of one that can't be the name of a channel. The other way
# round, more publications or channels than a request may hold are refused as too big, with 413, which
# schemathesis does not count among the refusals unless it is told to.
cat >"$work/schemathesis.toml" <<'TOML'
[[operations]]
include-name = "POST /api/publish"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "422"]
checks.negative_data_rejection.expected-statuses = ["400", "401", "403", "413", "415", "422", "429"]

[[operations]]
include-name = ["GET /ws", "GET /ws/session/{id}"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400"]
TOML

failed=0
run() {
    echo "-- $1"
    shift
    # Where it runs it leaves a cache.
    (cd "$work" && timeout $((seconds + 60)) "$venv/bin/st" --config-file "$work/schemathesis.toml" run \
        "$url/openapi.json" --max-examples "$examples" --max-time "$seconds" --seed "$seed" \
        --continue-on-failure --no-color --warnings off "$@") || failed=1
    kill -0 "$pid" || { echo "the server has ended" >&2; failed=1; }
    stop
}

start --dev
run "development mode" --checks all

cat >"$work/bowline.toml" <<'TOML'
[access]
api_keys = ["schemathesis-api-key"]
admin_token = "schemathesis-admin-token"
TOML
start --config "$work/bowline.toml"
run "with tokens" --checks all \
    --header "Authorization: Bearer schemathesis-admin-token" \
    --header "X-API-Key: schemathesis-admin-token"
exit "$failed"
