#!/usr/bin/env bash
# Certificates for tests, made by openssl: no private key lies in the project.
# usage: certificates.sh authority DIR            an authority: DIR/ca.pem, DIR/ca.key
#        certificates.sh issue DIR NAME SAN DAYS  signed by it: DIR/NAME.pem, DIR/NAME.key; DAYS 0 ends with the second
set -euo pipefail
dir=${2:?}
new=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)

authority() {
  mkdir -p "$dir"
  openssl req -x509 "${new[@]}" -keyout "$dir/ca.key" -out "$dir/ca.pem" -days 2 -subj /CN=authority \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign
}

issue() {
  local name=$2 names=$3 days=$4
  openssl req "${new[@]}" -keyout "$dir/$name.key" -out "$dir/$name.csr" -subj "/CN=$name"
  openssl x509 -req -in "$dir/$name.csr" -out "$dir/$name.pem" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial \
    -days "$days" -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n' "$names")
}

case $1 in authority | issue) "$@" ;; *) sed -n 2,4p "${BASH_SOURCE[0]}" && exit 2 ;; esac
