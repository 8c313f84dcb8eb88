#!/usr/bin/env bash
# Time and memory of preparing ten million rows: Phalanx, Polars and DuckDB with the same plan, turn about.
#
#   scripts/bench-data.sh [--rows N] [--rounds N] [--format parquet|csv] [--folder DIR]
#
# Installs Polars and DuckDB into an environment of their own (scripts/venv.sh). The table and what is made of it take 10 GB in
# --folder and, while Phalanx prepares, in $TMPDIR.
set -euo pipefail

here=$(dirname -- "${BASH_SOURCE[0]}")
python=$("$here/venv.sh" "$here/bench/requirements-data.txt")
cargo build --release --quiet -p phalanx
exec "$python" "$here/bench/tables.py" --phalanx "${CARGO_TARGET_DIR:-$here/../target}/release/phalanx" "$@"
