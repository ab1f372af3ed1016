#!/usr/bin/env bash
# Runs the simulation.
#
#   scripts/sim.sh                      a short form: the regression seeds, then the first 300 seeds;
#                                       and whether each planted bug still fits the code
#   scripts/sim.sh --seed N             one seed with its trace
#   scripts/sim.sh --minutes M          a swarm on all cores
#   scripts/sim.sh --toward COUNT       consecutive seeds in batches until COUNT are clean on this
#                                       state of the code; each batch is recorded in docs/proof/sim.json
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --quiet --locked --profile sim -p bowline-sim
sim="${CARGO_TARGET_DIR:-target}/sim/bowline-sim"

# Seeds of a batch: some minutes each, so that little is lost where one is interrupted.
batch=${SIM_BATCH:-2000}

regressions() {
    local seed
    while read -r seed _; do
        [[ $seed =~ ^[0-9]+$ ]] || continue
        "$sim" --seed "$seed" --quiet >/dev/null || { echo "seed $seed fails again"; return 1; }
    done <crates/sim/regressions.txt
}

planted() {
    local patch
    for patch in crates/sim/bugs/*.patch; do
        git apply --check "$patch" || { echo "$patch no longer fits: make it anew"; return 1; }
    done
}

toward() {
    local count=$1 next output totals
    while next=$(scripts/proof.py total sim seeds) && ((next < count)); do
        output=$("$sim" --seed $((next + 1)) --seeds "$batch") || { echo "$output"; return 1; }
        totals=$(awk '/ a seed$/ { printf " %s=%s", $1, $2 }' <<<"$output")
        # shellcheck disable=SC2086
        scripts/proof.py record sim --seed $((next + 1)) \
            --seconds "$(sed -n 's/.* in \([0-9]*\)\.[0-9] s: .*/\1/p' <<<"$output")" --totals $totals
        tail -2 <<<"$output"
    done
}

case ${1:-} in
    "") planted; regressions; "$sim" --seed "${SIM_SEED:-1}" --seeds 300 ;;
    --toward) toward "$2" ;;
    *) "$sim" "$@" ;;
esac
