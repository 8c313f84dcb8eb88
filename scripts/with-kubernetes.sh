#!/usr/bin/env bash
# Runs a command beside a real Kubernetes without nodes: etcd, API server and controller manager, gone when it ends.
#
#   scripts/with-kubernetes.sh COMMAND [ARGUMENT]…
#
# KUBECONFIG is set for the command: it may do anything. Needs what scripts/kubernetes.sh has built and an etcd
# (scripts/etcd.sh); ends with 77, and says why, where one of them is not there.
set -euo pipefail

(($#)) || { printf 'usage: scripts/with-kubernetes.sh COMMAND [ARGUMENT]…\n' >&2 && exit 2; }
scripts=$(dirname -- "${BASH_SOURCE[0]}")
kubernetes=$("$scripts/kubernetes.sh" --cached) || exit 77
etcd=${PHALANX_ETCD:-$("$scripts/etcd.sh")} || exit 77

work=$(mktemp -d)
running=()
trap '((${#running[@]} == 0)) || kill "${running[@]}" 2> /dev/null || true; wait; rm -rf -- "$work"' EXIT
# start NAME COMMAND…: runs it until the end, its output in a log.
start() {
    local name=$1 && shift
    "$@" > "$work/$name.log" 2>&1 &
    running+=($!)
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

client=http://127.0.0.1:$(free_port) peer=http://127.0.0.1:$(free_port) port=$(free_port)
start etcd "$etcd" --data-dir "$work/etcd" --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer"
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/accounts.key" 2> /dev/null
token=$(openssl rand -hex 16)
printf '%s,admin,admin,system:masters\n' "$token" > "$work/tokens.csv"
start kube-apiserver "$kubernetes/kube-apiserver" --etcd-servers "$client" --bind-address 127.0.0.1 --secure-port "$port" \
    --cert-dir "$work/certificates" --authorization-mode RBAC --token-auth-file "$work/tokens.csv" \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$work/accounts.key" \
    --service-account-signing-key-file "$work/accounts.key" --service-cluster-ip-range 10.0.0.0/24
cat > "$work/kubeconfig" << YAML
apiVersion: v1
kind: Config
clusters: [{name: it, cluster: {server: "https://127.0.0.1:$port", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: it, context: {cluster: it, user: admin}}]
current-context: it
YAML
export KUBECONFIG=$work/kubeconfig
curl --silent --insecure --retry 120 --retry-delay 1 --retry-all-errors --fail "https://127.0.0.1:$port/readyz" > /dev/null \
    || { tail -- "$work"/*.log >&2 && exit 1; }
start kube-controller-manager "$kubernetes/kube-controller-manager" --kubeconfig "$KUBECONFIG" --port 0 --secure-port 0 \
    --service-account-private-key-file "$work/accounts.key" --use-service-account-credentials --leader-elect=false
"$@"
