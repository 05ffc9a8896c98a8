#!/usr/bin/env bash
# Certificates for tests, made by openssl: no private key lies in the project.
# usage: certificates.sh authority DIR [NAME]     an authority: DIR/NAME.pem, DIR/NAME.key; by default ca
#        certificates.sh issue DIR NAME SAN DAYS  signed by ca: DIR/NAME.pem, DIR/NAME.key; DAYS 0 ends with the second
#        certificates.sh servers DIR              ca, server (for 127.0.0.1) and client, and other-ca, which has signed neither
set -euo pipefail
dir=${2:?}
new=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)

authority() {
  local name=${2:-ca}
  mkdir -p "$dir"
  openssl req -x509 "${new[@]}" -keyout "$dir/$name.key" -out "$dir/$name.pem" -days 2 -subj "/CN=authority $name" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign
}

issue() {
  local name=$2 names=$3 days=$4
  openssl req "${new[@]}" -keyout "$dir/$name.key" -out "$dir/$name.csr" -subj "/CN=$name"
  openssl x509 -req -in "$dir/$name.csr" -out "$dir/$name.pem" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial \
    -days "$days" -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n' "$names")
}

servers() {
  [[ -s $dir/other-ca.pem ]] && return
  # what old servers know, too
  new=(-newkey rsa:2048 -nodes)
  authority "$dir"
  issue "$dir" server IP:127.0.0.1 2
  issue "$dir" client DNS:client 2
  # servers that drop root's rights read it, too
  chmod 644 "$dir/server.key"
  authority "$dir" other-ca
}

# openssl says much; it is of interest where it fails
said=$(mktemp)
trap 'code=$?; ((code == 0)) || cat "$said" >&3; rm -f "$said"' EXIT
exec 3>&2 2>"$said"
case $1 in
  authority | issue | servers)
    command=$1
    shift
    "$command" "$@"
    ;;
  *) sed -n 2,5p "${BASH_SOURCE[0]}" && exit 2 ;;
esac
