#!/usr/bin/env bash
# Fuzzes what reads what others wrote.
#
#   scripts/fuzz.sh TARGET…|all [--seconds N] [--record]   N seconds each (60); resumes on the corpus
#                                                          that earlier runs have grown in target/.
#                                                          What is recorded, in docs/proof, is CPU
#                                                          time, which is less where others have the
#                                                          cores
#   scripts/fuzz.sh plants [TARGET…]                       shows that each target finds a planted
#                                                          panic within 5 minutes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

root=$PWD
targets=(ws_decode inflate proto_decode config jwt_claims log_read log_ops hub_ops)
toolchain=${FUZZ_TOOLCHAIN:-stable}

if ! cargo fuzz --version >/dev/null 2>&1; then
    cargo install --locked --quiet cargo-fuzz
fi
# cargo-fuzz asks for flags that stable compilers know but don't offer.
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/fuzz}

# cargo_fuzz COMMAND FOLDER TARGET [ARGUMENT…]
cargo_fuzz() {
    local command=$1 folder=$2 target=$3
    local features=()
    case $target in config | jwt_claims | hub_ops) features=(--features server) ;; esac
    (cd "$folder" && cargo "+$toolchain" fuzz "$command" --sanitizer none "${features[@]}" "$target" "${@:4}")
}

# fuzz FOLDER TARGET SECONDS GROWN: runs it there; prints libFuzzer's words.
fuzz() {
    local folder=$1 target=$2 seconds=$3 grown=$4
    mkdir -p "$grown" "$root/target/fuzz-found/$target"
    cargo_fuzz run "$folder" "$target" "$grown" "$root/fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -print_final_stats=1 -max_len=4096 -timeout=25 \
        -artifact_prefix="$root/target/fuzz-found/$target/" 2>&1
}

run() {
    local target=$1 seconds=$2 output status=0 TIMEFORMAT='cpu %U %S'
    cargo_fuzz build "$root" "$target" 2>/dev/null || true
    output=$({ time fuzz "$root" "$target" "$seconds" "$root/target/fuzz-corpus/$target"; } 2>&1) || status=$?
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' <<<"$output" | tail -1)
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' <<<"$output" | tail -1)
    cpu=$(awk '$1 == "cpu" { print int($2 + $3) }' <<<"$output" | tail -1)
    findings=$((status == 0 ? 0 : 1))
    ((findings == 0)) || tail -40 <<<"$output"
    if [[ -z $executions ]]; then
        echo "$target did not run to an end"
        return 1
    fi
    printf '%-14s %12s executions %7s edges %3s findings in %s s of CPU time\n' \
        "$target" "$executions" "$edges" "$findings" "$cpu"
}

all() {
    local seconds=$1 record=$2 status=0 commit
    ((!record)) || commit=$(scripts/proof.py begin) || return 1
    for target in "${chosen[@]}"; do
        run "$target" "$seconds" || { status=1; continue; }
        ((findings == 0)) || status=1
        if ((record)); then
            scripts/proof.py record "fuzz-${target//_/-}" --commit "$commit" --seconds "$cpu" --totals "findings=$findings" \
                "seconds=$cpu" "executions=$executions" "edges_max=$edges"
        fi
    done
    return "$status"
}

# A planted panic lies where only an input of the right form comes. The search begins with the
# committed corpus alone.
plants() {
    local copy=$root/target/fuzz-plants missed=0 began output
    git worktree prune
    [[ -d $copy ]] || git worktree add --quiet --detach "$copy" HEAD
    git -C "$copy" checkout --quiet --force --detach "$(git rev-parse HEAD)"
    for target in "${chosen[@]}"; do
        git -C "$copy" checkout --quiet --force -- .
        git -C "$copy" apply "$root/fuzz/plants/$target.patch"
        rm -rf "$root/target/fuzz-plants-corpus"
        began=$SECONDS
        output=$(fuzz "$copy" "$target" 300 "$root/target/fuzz-plants-corpus") || true
        if grep -qx 'a planted panic' <<<"$output"; then
            printf '%-14s found its planted panic within %s s, building included\n' \
                "$target" $((SECONDS - began))
        else
            tail -20 <<<"$output"
            printf '%-14s DID NOT FIND its planted panic\n' "$target"
            missed=1
        fi
        rm -rf "$root/target/fuzz-found/$target"
    done
    git -C "$copy" checkout --quiet --force -- .
    return "$missed"
}

what=${1:-all}
shift || true
seconds=60 record=0 chosen=()
while (($#)); do
    case $1 in
        --seconds) seconds=$2; shift 2 ;;
        --record) record=1; shift ;;
        *) chosen+=("$1"); shift ;;
    esac
done
case $what in
    all | plants) ((${#chosen[@]})) || chosen=("${targets[@]}") ;;
    *) chosen=("$what" "${chosen[@]}") ;;
esac
if [[ $what == plants ]]; then plants; else all "$seconds" "$record"; fi
