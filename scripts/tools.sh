#!/usr/bin/env bash
# Sourced by the other scripts: `install_tools PROGRAM:PACKAGE …` installs those packages of which the
# program is missing. Where that can't be done (no root, no apt) it says nothing: what needs the program
# tells that it did NOT RUN.

# The bound of a whole installation, so that a dead mirror doesn't hold a run.
tools_secs=300

install_tools() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    if ((${#missing[@]} == 0)) || ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        return 0
    fi
    export DEBIAN_FRONTEND=noninteractive
    {
        timeout "$tools_secs" apt-get update -qq &&
            timeout "$tools_secs" apt-get install -y -qq --no-install-recommends "${missing[@]}"
    } >/dev/null || true
}
