#!/usr/bin/env bash
# Renders every kustomization of k8s/ that can be applied, and holds what comes out to the schemas of Kubernetes.
#
#   scripts/manifests.sh [FOLDER]        FOLDER: where what is rendered stays, for whoever wants to read it
#
# Needs kubectl (scripts/kubectl.sh), and kubernetes-validate and cel-python (PyPI). Ends with 77, and says why, where they
# cannot be had.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

# From the oldest that is still maintained to the newest that the validator knows.
readonly versions=(1.33 1.34 1.35 1.36 1.37)

kubectl=$(scripts/kubectl.sh) || exit 77
python=$(scripts/venv.sh scripts/requirements-kubernetes.txt) || exit 77
validate=$(dirname -- "$python")/kubernetes-validate

rendered=${1:-}
if [[ -z $rendered ]]; then
    rendered=$(mktemp -d)
    trap 'rm -rf -- "$rendered"' EXIT
fi
mkdir -p -- "$rendered"

for folder in k8s/base k8s/overlays/*; do
    "$kubectl" kustomize "$folder" > "$rendered/${folder##*/}.yaml"
done
# Its own kinds are those of Prometheus' operator, whose schemas the validator does not have: what it has is held to them.
"$kubectl" kustomize k8s/monitoring > "$rendered/monitoring.yaml"
"$python" - "$rendered/monitoring.yaml" << 'PYTHON' > "$rendered/dashboards.yaml"
import sys, yaml
known = [o for o in yaml.safe_load_all(open(sys.argv[1])) if not o["apiVersion"].startswith("monitoring.coreos.com/")]
yaml.safe_dump_all(known, sys.stdout)
PYTHON

for version in "${versions[@]}"; do
    "$validate" --strict --quiet --kubernetes-version "$version" "$rendered"/{base,dev,production,gpu,spot,dashboards}.yaml
done
"$python" scripts/rules.py
objects=$(cat -- "$rendered"/{base,dev,production,gpu,spot,dashboards}.yaml | grep -c '^kind: ')
printf 'manifests.sh: %d objects pass for Kubernetes %s to %s\n' "$objects" "${versions[0]}" "${versions[-1]}"
