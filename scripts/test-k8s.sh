#!/usr/bin/env bash
# Applies every overlay to a real API server, and asks what comes of it: pods, and what accounts may do.
#
#   scripts/test-k8s.sh
#
# Ends with 77, and says why, where there is no API server: scripts/kubernetes.sh builds one, once.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
[[ -n ${KUBECONFIG_OF_TEST:-} ]] || KUBECONFIG_OF_TEST=1 exec scripts/with-kubernetes.sh "$0"

kubectl=$(scripts/kubectl.sh) || exit 77
fail() { printf 'test-k8s.sh: %s\n' "$1" >&2 && exit 1; }
k() { "$kubectl" --namespace phalanx "$@"; }

# eventually WHAT COMMAND…: until it succeeds, for a minute at the most.
eventually() {
    local what=$1 begin=$SECONDS && shift
    until "$@"; do
        ((SECONDS - begin < 60)) || fail "waited a minute for $what"
        sleep 0.2
    done
}
pods() { [[ $(k get pods --selector "$1" --output name | wc -l) -eq $2 ]]; }
gone() { ! "$kubectl" get namespace phalanx > /dev/null 2>&1; }
may() { [[ $(k auth can-i "${@:2}" --as "system:serviceaccount:phalanx:$1" 2> /dev/null || true) == yes ]]; }

for overlay in base overlays/dev overlays/production overlays/gpu overlays/spot; do
    # 1.20 knows budgets by their older name.
    "$kubectl" kustomize "k8s/$overlay" | sed 's#^apiVersion: policy/v1$#apiVersion: policy/v1beta1#' \
        | "$kubectl" apply --validate=false --filename - > /dev/null || fail "$overlay is refused"
    coordinators=3 && [[ $overlay != overlays/dev ]] || coordinators=1
    eventually "coordinators of $overlay" pods app.kubernetes.io/component=coordinator "$coordinators"
    eventually "workers of $overlay" pods phalanx.dev/pool=cpu 1
    pool=${overlay#overlays/}
    [[ $pool != gpu && $pool != spot ]] || eventually "the pool $pool" pods "phalanx.dev/pool=$pool" 1

    may coordinator patch statefulsets/worker-cpu --subresource=scale || fail "$overlay: the coordinator cannot scale its pool"
    may coordinator patch trainingjobs --subresource=status || fail "$overlay: the coordinator cannot tell how jobs are"
    ! may coordinator create trainingjobs || fail "$overlay: the coordinator may make training jobs"
    may coordinator watch pods || fail "$overlay: the coordinator cannot watch pods"
    ! may coordinator patch statefulsets/worker-cpu || fail "$overlay: the coordinator may change more than replicas"
    ! may coordinator create pods || fail "$overlay: the coordinator may create pods"
    ! may coordinator get secrets || fail "$overlay: the coordinator may read secrets"
    ! may coordinator list pods --namespace default || fail "$overlay: the coordinator sees other namespaces"
    ! may worker get pods || fail "$overlay: a worker may ask Kubernetes something"
    "$kubectl" delete namespace phalanx --wait=false > /dev/null
    eventually "the end of $overlay" gone
done
printf 'test-k8s.sh: the base and every overlay are taken, make their pods, and give nobody too much\n'
