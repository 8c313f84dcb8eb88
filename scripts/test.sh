#!/usr/bin/env bash
# Everything that tests the project, down to one closing line of counts. Steps go on after one that fails.
#
#   scripts/test.sh [FILTER]     FILTER: only tests whose name contains it, and no other step
#
# Needs Rust; with python 3.11 or newer the metrics are held to scikit-learn and the object store to SeaweedFS, and
# coordinators in numbers are built with protoc, all from virtual environments; their etcd, and a Chromium for pages, come from Debian.
# cargo-nextest and cargo-deny are used where they are installed. CARGO_TARGET_DIR is honoured.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
source scripts/lib/steps.sh

# tool VARIABLE WHAT SCRIPT: exports the path that a script prints, or says what is not tested without it.
tool() { local path && if path=$("scripts/$3"); then export "$1=$path"; else skip "$2" "see above"; fi; }
tool PHALANX_PYTHON "comparison with scikit-learn" venv.sh
tool PHALANX_WEED "the object store on S3" seaweedfs.sh
tool PHALANX_ETCD "tests on etcd" etcd.sh
tool PHALANX_CHROMIUM "reports in a browser" chromium.sh
tool PROTOC "coordinators in numbers" protoc.sh

workspace=(--release --workspace --locked)
[[ -z ${PROTOC:-} ]] || workspace+=(--features phalanx/cluster)
if [[ $# -eq 0 ]]; then
    step "format" cargo fmt --all --check
    step "clippy" cargo clippy "${workspace[@]}" --all-targets -- -D warnings
    step "clippy without features" cargo clippy --release --locked -p phalanx-server --all-targets -- -D warnings
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

# The tests of processes start the binaries, so these come first, built as the tests build them.
step "build" cargo build "${workspace[@]}" --all-targets
if cargo nextest --version > /dev/null 2>&1; then
    tests cargo nextest run "${workspace[@]}" --no-fail-fast "$@"
    tests cargo test "${workspace[@]}" --no-fail-fast --doc "$@"
else
    tests cargo test "${workspace[@]}" --no-fail-fast "$@" -- --show-output
fi
conclude
