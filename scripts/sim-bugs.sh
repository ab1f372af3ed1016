#!/usr/bin/env bash
# Shows that the simulation finds bugs: applies each patch of crates/sim/bugs to a scratch copy of the
# last commit, builds it, and plays up to 2,000 seeds until one complains.
#
#   scripts/sim-bugs.sh            all of them
#   scripts/sim-bugs.sh NAME…      these
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seeds=${SIM_BUG_SEEDS:-2000}
# A bug may keep a seed from ending: what was found until then counts.
seconds=${SIM_BUG_SECONDS:-600}
profile=${SIM_BUG_PROFILE:-sim}
root=$PWD
copy=$root/target/sim-bugs/copy
export CARGO_TARGET_DIR=$root/target/sim-bugs/target
binary=$CARGO_TARGET_DIR/$([[ $profile == dev ]] && echo debug || echo "$profile")/bowline-sim

mkdir -p target/sim-bugs
git worktree prune
[[ -d $copy ]] || git worktree add --quiet --detach "$copy" HEAD
git -C "$copy" checkout --quiet --force --detach "$(git rev-parse HEAD)"

names=("$@")
if ((${#names[@]} == 0)); then
    for patch in crates/sim/bugs/*.patch; do names+=("$(basename "$patch" .patch)"); done
fi
missed=0
for name in "${names[@]}"; do
    git -C "$copy" checkout --quiet --force -- .
    git -C "$copy" apply "$root/crates/sim/bugs/$name.patch"
    (cd "$copy" && cargo build --quiet --locked --profile "$profile" -p bowline-sim)
    output=$(timeout "$seconds" "$binary" --seeds "$seeds" --no-minimise 2>/dev/null || true)
    seed=$(sed -n 's/^seed \([0-9]*\) FAILED$/\1/p' <<<"$output" | head -1)
    checker=$(sed -n 's/^  \([a-z-]*\): .*/\1/p' <<<"$output" | head -1)
    if [[ -n $seed ]]; then
        printf '%-24s caught at seed %s by %s\n' "$name" "$seed" "$checker"
    else
        printf '%-24s NOT CAUGHT\n' "$name"
        missed=$((missed + 1))
    fi
done
git -C "$copy" checkout --quiet --force -- .
echo "${#names[@]} bugs, $missed not caught within $seeds seeds"
((missed == 0))
