#!/usr/bin/env bash
# Runs the simulation.
#
#   scripts/sim.sh                      a short form: the regression seeds, then the first 300 seeds;
#                                       and whether each planted bug still fits the code
#   scripts/sim.sh --seed N             one seed with its trace
#   scripts/sim.sh --minutes M          a swarm on all cores
#   scripts/sim.sh --toward COUNT [--from SEED]
#                                       the seeds 1 to COUNT in batches until all are clean on this state
#                                       of the code; each batch is recorded in docs/proof/sim.json.
#                                       --from: begin at SEED, and go on at 1 after COUNT (the same SEED
#                                       whenever it is resumed), so that seeds never tried come first
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

commit=
[[ ${1:-} != --toward ]] || commit=$(scripts/proof.py begin)
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
    local count=$1 from=${2:-1} clean seed seeds began output totals failed
    while clean=$(scripts/proof.py total sim seeds) && ((clean < count)); do
        seed=$(((from - 1 + clean) % count + 1))
        # Up to COUNT, and after it up to where the first batch began.
        seeds=$((seed < from ? from - seed : count - seed + 1))
        seeds=$((seeds < batch ? seeds : batch))
        failed= began=$SECONDS
        output=$("$sim" --seed "$seed" --seeds "$seeds") || failed=--failed
        totals=$(awk '/ a seed$/ { printf " %s=%s", $1, $2 }' <<<"$output")
        # shellcheck disable=SC2086
        scripts/proof.py record sim --commit "$commit" --seed "$seed" --seconds $((SECONDS - began)) \
            $failed --totals ${totals:-seeds=0}
        [[ -z $failed ]] || { echo "$output"; return 1; }
        tail -2 <<<"$output"
    done
}

case ${1:-} in
    "") planted; regressions; "$sim" --seed "${SIM_SEED:-1}" --seeds 300 ;;
    --toward)
        [[ $# == 2 || ${3:-} == --from && $# == 4 ]] || { echo "sim.sh: --toward COUNT [--from SEED]" >&2; exit 2; }
        toward "$2" "${4:-1}"
        ;;
    *) "$sim" "$@" ;;
esac
