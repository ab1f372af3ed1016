#!/usr/bin/env bash
# Runs the Autobahn WebSocket test suite (wstest) against Bowline's server, its Rust client or both:
#
#   scripts/autobahn.sh server|client|all [sample|full]
#
# `full` is every case that there is, 517. `sample`, the default, is all of sections 1 to 7, 9 and 10
# and a dozen of the 216 of compression (12 and 13), which take most of the time. Every case of
# scripts/autobahn/{full,sample}.txt must be present with behavior and behaviorClose OK or
# INFORMATIONAL; anything else, a wstest that can't be had included, is exit code 1. Reports are
# written to reports/autobahn/{server,client}, with an index.html to look at.
#
# wstest is installed into a venv of CPython 2.7 when it is missing. Settings, by environment:
#   AUTOBAHN_VENV         where that venv is (default: autobahn/venv27 in cargo's target folder)
#   AUTOBAHN_SERVER       a built echo server to test instead of bowline's example `echo`
#   AUTOBAHN_CLIENT       a built client to test instead of bowline-client's example `autobahn`
#   AUTOBAHN_RECORD       not empty: `all full` is recorded in docs/proof/autobahn.json
#   AUTOBAHN_TIMEOUT_SECS the bound of each run (default: 600, and 3,600 for `full`)
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
here="$root/scripts/autobahn"
target="${CARGO_TARGET_DIR:-$root/target}"
venv="${AUTOBAHN_VENV:-$target/autobahn/venv27}"
ready_secs=30
agent=bowline
wstest_version=25.10.1
virtualenv_version=20.15.1
python_version=2.7.18

background=()
stop_background() {
    local pid
    for pid in "${background[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    background=()
}
trap stop_background EXIT

fail() {
    echo "autobahn: FAILED: $*" >&2
    exit 1
}

# That is a verdict on what was tested, and recorded as one.
unfinished() {
    echo "autobahn: FAILED: $* within $timeout_secs s." >&2
    stop_background
}

has_wstest() {
    [[ -x "$venv/bin/wstest" ]] &&
        "$venv/bin/wstest" --autobahnversion 2>&1 | grep -qF "AutobahnTestSuite $wstest_version"
}

install_wstest() {
    if has_wstest; then
        return
    fi
    local log="$target/autobahn/install.log" library="$target/autobahn/virtualenv"
    echo "autobahn: installing wstest $wstest_version into $venv (log: $log)"
    mkdir -p "$(dirname "$log")" "$(dirname "$venv")"
    rm -rf "$venv" "$library"
    {
        PYENV_VERSION=$python_version python2.7 -m pip install --target "$library" \
            "virtualenv==$virtualenv_version" &&
            PYTHONPATH="$library" PYENV_VERSION=$python_version python2.7 -m virtualenv "$venv" &&
            "$venv/bin/pip" install "autobahntestsuite==$wstest_version"
    } >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        fail "wstest can't be installed: it needs CPython $python_version (pyenv) and PyPI."
    }
    has_wstest || fail "wstest was installed but doesn't say that it is $wstest_version."
}

# Below the range that the system hands to outgoing connections: a thousand of them were just made,
# and one that still lingers on the port would keep wstest from listening on it.
free_port() {
    python3 - <<'PYTHON'
import random, socket
for port in random.sample(range(15000, 32000), 100):
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            continue
        print(port)
        break
PYTHON
}

# Polls a condition until it holds, the process has died, or the deadline has passed.
await() {
    local what="$1" pid="$2" log="$3"
    shift 3
    local deadline=$((SECONDS + ready_secs))
    until "$@"; do
        if ! kill -0 "$pid" 2>/dev/null || ((SECONDS >= deadline)); then
            tail -n 20 "$log" >&2
            fail "$what did not get ready within $ready_secs s."
        fi
        sleep 0.1
    done
}

accepts_tcp() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Writes a mode's spec for a port into a fresh report folder, and checks that what wstest is going
# to run is the committed list, so that the two can't drift apart.
prepare() {
    local mode="$1" port="$2" reports="$3"
    rm -rf "$reports"
    mkdir -p "$reports"
    local ids='"*"'
    if [[ "$form" == sample ]]; then
        ids="$(sed 's/.*/"&"/' "$here/sample.txt" | paste -sd,)"
    fi
    sed -e "s/@PORT@/$port/" -e "s/@CASES@/[$ids]/" "$here/$mode.json" >"$reports/spec.json"
    "$venv/bin/python" "$here/list_cases.py" "$reports/spec.json" >"$reports/cases.txt"
    diff "$here/$form.txt" "$reports/cases.txt" >&2 ||
        fail "wstest would not run the cases that scripts/autobahn/$form.txt lists."
}

test_server() {
    local server="${AUTOBAHN_SERVER:-}" reports="$root/reports/autobahn/server" port
    if [[ -z "$server" ]]; then
        cargo build --manifest-path "$root/Cargo.toml" -p bowline --example echo ||
            fail "the example echo of crate bowline doesn't build."
        server="$target/debug/examples/echo"
    fi
    port="$(free_port)"
    prepare fuzzingclient "$port" "$reports"
    "$server" "127.0.0.1:$port" >"$reports/server.log" 2>&1 &
    local pid=$!
    background+=("$pid")
    await "the server" "$pid" "$reports/server.log" grep -q "listening on" "$reports/server.log"
    echo "autobahn: testing the server $server"
    # A folder of its own is the working folder, because wstest writes to where it stands.
    (cd "$reports" && timeout "$timeout_secs" "$venv/bin/wstest" -m fuzzingclient -s spec.json) \
        >"$reports/wstest.log" 2>&1 || {
        tail -n 20 "$reports/wstest.log" >&2
        unfinished "wstest did not finish"
        return 1
    }
    stop_background
    python3 "$here/judge.py" "$reports/index.json" "$here/$form.txt" "$agent" server
}

test_client() {
    local client="${AUTOBAHN_CLIENT:-}" reports="$root/reports/autobahn/client" port
    if [[ -z "$client" ]]; then
        cargo build --manifest-path "$root/Cargo.toml" -p bowline-client --example autobahn ||
            fail "the example autobahn of crate bowline-client doesn't build."
        client="$target/debug/examples/autobahn"
    fi
    port="$(free_port)"
    prepare fuzzingserver "$port" "$reports"
    (cd "$reports" && exec "$venv/bin/wstest" -u 0 -m fuzzingserver -s spec.json) \
        >"$reports/wstest.log" 2>&1 &
    local pid=$!
    background+=("$pid")
    await wstest "$pid" "$reports/wstest.log" accepts_tcp "$port"
    echo "autobahn: testing the client $client"
    timeout "$timeout_secs" "$client" "ws://127.0.0.1:$port" "$agent" \
        >"$reports/client.log" 2>&1 || {
        tail -n 20 "$reports/client.log" >&2
        unfinished "the client did not finish all cases"
        return 1
    }
    stop_background
    python3 "$here/judge.py" "$reports/index.json" "$here/$form.txt" "$agent" client
}

command -v python3 >/dev/null || fail "Python 3 is missing; it judges the reports."
mode="${1:-}"
form="${2:-sample}"
case "$mode $form" in
"server "* | "client "* | "all "*) ;;
*) form="" ;;
esac
case "$form" in
sample) timeout_secs="${AUTOBAHN_TIMEOUT_SECS:-600}" ;;
full) timeout_secs="${AUTOBAHN_TIMEOUT_SECS:-3600}" ;;
*)
    echo "usage: scripts/autobahn.sh server|client|all [sample|full]" >&2
    exit 2
    ;;
esac

python3 "$here/test_judge.py" >/dev/null 2>&1 || fail "the judge fails its own test."
install_wstest
# A whole run of both sides is one of the records of docs/proof: 517 cases each, or it has failed.
commit=
if [[ "$mode $form" == "all full" && -n "${AUTOBAHN_RECORD:-}" ]]; then
    commit="$("$root/scripts/proof.py" begin)" || fail "the run can't be recorded."
fi
verdict=0
if [[ "$mode" != client ]]; then
    test_server || verdict=1
fi
if [[ "$mode" != server ]]; then
    test_client || verdict=1
fi
if [[ -n "$commit" ]]; then
    cases="$(wc -l <"$here/full.txt")"
    failed=
    ((verdict == 0)) || failed=--failed
    # shellcheck disable=SC2086
    "$root/scripts/proof.py" record autobahn --commit "$commit" --seconds "$SECONDS" $failed \
        --totals "server_cases=$cases" "client_cases=$cases"
fi
exit "$verdict"
