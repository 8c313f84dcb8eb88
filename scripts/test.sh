#!/usr/bin/env bash
# Everything that tests the project, down to one closing line of counts. Steps go on after one that fails.
#
#   scripts/test.sh [FILTER]     FILTER: only tests whose name contains it, and no other step
#
# Needs Rust; with python 3.11 or newer the metrics are held to scikit-learn and the object store to SeaweedFS, which
# are installed into virtual environments. cargo-nextest and cargo-deny are used where they are installed. CARGO_TARGET_DIR is honoured.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
source scripts/lib/steps.sh

workspace=(--release --workspace --locked)
if [[ $# -eq 0 ]]; then
    step "format" cargo fmt --all --check
    step "clippy" cargo clippy "${workspace[@]}" --all-targets -- -D warnings
    step "docs" env RUSTDOCFLAGS="-D warnings" cargo doc "${workspace[@]}" --no-deps
    if cargo deny --version > /dev/null 2>&1; then
        step "licences" cargo deny --workspace --locked check licenses bans sources
        if cargo deny --locked fetch db; then
            step "advisories" cargo deny --workspace --locked check advisories
        else
            skip "advisories" "their database cannot be fetched, see above"
        fi
    else
        skip "licences and advisories" "cargo-deny is not installed: cargo install --locked cargo-deny"
    fi
fi

if PHALANX_PYTHON=$(scripts/venv.sh); then
    export PHALANX_PYTHON
else
    skip "comparison with scikit-learn" "there is no python for it, see above"
fi
if PHALANX_WEED=$(scripts/seaweedfs.sh); then
    export PHALANX_WEED
else
    skip "the object store on S3" "there is no SeaweedFS for it, see above"
fi

# The tests of processes start the binaries, so these come first, built as the tests build them.
step "build" cargo build "${workspace[@]}" --all-targets
if cargo nextest --version > /dev/null 2>&1; then
    tests cargo nextest run "${workspace[@]}" --no-fail-fast "$@"
    tests cargo test "${workspace[@]}" --no-fail-fast --doc "$@"
else
    tests cargo test "${workspace[@]}" --no-fail-fast "$@" -- --show-output
fi
conclude
