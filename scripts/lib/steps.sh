# Steps of a test run and their counts. Sourced by scripts/test.sh.
set -euo pipefail

passed=0 failed=0 skipped=0
# step NAME COMMAND…: runs it, counts it, and goes on either way.
step() {
    local name=$1 begin=$SECONDS && shift
    printf '\n=== %s\n' "$name"
    if "$@"; then
        passed=$((passed + 1))
        printf '=== %s: passed in %d s\n' "$name" $((SECONDS - begin))
    else
        failed=$((failed + 1))
        printf '=== %s: FAILED\n' "$name"
    fi
}

# skip NAME REASON: says loudly what is not tested.
skip() {
    skipped=$((skipped + 1)) && printf '\n=== %s: SKIPPED: %s\n' "$1" "$2"
}

# tests COMMAND…: runs tests and adds the counts that their runner prints.
tests() {
    local log status=0 unfit ignored && log=$(mktemp)
    printf '\n=== %s\n' "$*"
    "$@" 2>&1 | tee "$log" || status=$?
    # cargo test: one line a binary. nextest: one line in all.
    count "$log" 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed; .*/\1 \2/p'
    count "$log" 's/^ +Summary .* ([0-9]+) passed[^,]*(, ([0-9]+) failed)?.*/\1 \3/p'
    # A test that lacks what it needs says so and ends well. Some are run by others, in processes of their own.
    unfit=$(grep -cE '^ *SKIPPED: ' "$log" || true)
    ignored=$(grep -E '^test .* \.\.\. ignored' "$log" | grep -vc 'run by another test' || true)
    passed=$((passed - unfit)) skipped=$((skipped + unfit + ignored))
    [[ $status -eq 0 || $failed -gt 0 ]] || failed=1
    rm -- "$log"
}

# count LOG SCRIPT: adds the pairs of passed and failed that the sed script finds.
count() {
    while read -r ok bad; do
        passed=$((passed + ok)) failed=$((failed + ${bad:-0}))
    done < <(sed --quiet --regexp-extended "$2" "$1")
}

# conclude: the closing line; ends the script with 1 if anything failed.
conclude() {
    printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    [[ $failed -eq 0 ]]
}
