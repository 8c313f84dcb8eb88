#!/usr/bin/env bash
# Certificates for trying TLS out: a cluster's CA, and what it signs for a coordinator and for workers.
#
#   scripts/certificates.sh DIR
#
# Writes ca.pem, coordinator.pem, worker.pem and a .key beside each into DIR. Where DIR has a CA already, that one
# signs new certificates: processes that are started again have them. Whoever has ca.key can let anyone into the
# cluster; for more than trying out, keep it elsewhere, and give each machine a worker's certificate of its own.
set -euo pipefail

(($# == 1)) || { printf 'usage: scripts/certificates.sh DIR\n' >&2 && exit 2; }
umask 077
mkdir -p -- "$1"
cd -- "$1"

readonly ca_days=3650 days=365

new_key() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"
}

# What a certificate is for is its name; where its process runs is not in it.
sign() {
    local role=$1 usage=$2
    new_key "$role"
    openssl req -x509 -new -key "$role.key" -sha256 -days "$days" -subj "/CN=phalanx-$role" -out "$role.pem" \
        -CA ca.pem -CAkey ca.key -addext "subjectAltName=DNS:phalanx-$role" -addext "extendedKeyUsage=$usage" \
        -addext 'basicConstraints=critical,CA:FALSE' -addext 'keyUsage=critical,digitalSignature'
}

if [[ ! -e ca.pem ]]; then
    new_key ca
    openssl req -x509 -new -key ca.key -sha256 -days "$ca_days" -subj '/CN=phalanx CA' -out ca.pem \
        -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign'
fi
sign coordinator serverAuth
sign worker serverAuth,clientAuth # workers dial each other, too
printf 'certificates for %s days in %s\n' "$days" "$PWD"
