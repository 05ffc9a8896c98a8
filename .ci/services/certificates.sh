#!/usr/bin/env bash
# Throw-away certificates for servers on loopback, by openssl: an authority, a server's and a client's signed by
# it, and an authority that has signed neither.
# usage: certificates.sh FOLDER   makes ca.pem, server.pem, server.key, client.pem, client.key, other-ca.pem there
set -euo pipefail
dir=${1:?a folder}
mkdir -p "$dir"
cd "$dir"
[[ -s other-ca.pem ]] && exit

authority() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=$2" -keyout "$1.key" -out "$1.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
}

signed() {
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -days 30 -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -out "$1.pem" -extfile <(echo "$2") 2>/dev/null
}

authority ca "authority of a test"
# for no other name, so that a test can ask for one
signed server "subjectAltName=IP:127.0.0.1"
signed client "extendedKeyUsage=clientAuth"
# servers that drop root's rights read it, too
chmod 644 server.key
authority other-ca "another authority"
