#!/usr/bin/env bash
# Checks the alert rules of k8s/monitoring and runs their unit tests.
#
#   scripts/alerts.sh
#
# Needs promtool (scripts/prometheus.sh) and PyYAML (PyPI). Ends with 77, and says why, where they cannot be had.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

prometheus=$(scripts/prometheus.sh) || exit 77
python=$(scripts/venv.sh scripts/requirements-kubernetes.txt) || exit 77

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
# promtool reads what is inside of the resource.
"$python" -c 'import sys, yaml; yaml.safe_dump(yaml.safe_load(sys.stdin)["spec"], sys.stdout)' \
    < k8s/monitoring/phalanx-prometheusrule.yaml > "$work/rules.yaml"
cp -- k8s/monitoring/tests/*.yaml "$work"

"$prometheus/promtool" check rules --lint=all --lint-fatal "$work/rules.yaml"
"$prometheus/promtool" test rules "$work"/*-test.yaml
