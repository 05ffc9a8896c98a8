#!/usr/bin/env bash
# A real Keycloak, from Maven's registry, on loopback, with the project's realm in it; its tokens last an hour.
# usage: keycloak.sh install|start|stop|kill|status   (needs mvn, java 17, curl)
# environment: STATE_DIR (its data), CACHE_DIR (the distribution), KC_PORT, and the variables of the realm file:
# TRADEPOST_SERVICE_SECRET, MICROSERVICES_CLIENT_SECRET, DEMO_ADMIN_PASSWORD, DEMO_ALICE_PASSWORD, KC_ADMIN_PASSWORD;
# KC_TLS: a folder with server.pem, server.key and ca.pem, to use TLS instead
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=keycloak version=26.7.3
# kc.sh and the Java below it end together
group=yes patience=600
state=${STATE_DIR:?} cache=${CACHE_DIR:-$HOME/.cache/tradepost-ci} port=${KC_PORT:-8180}
dist=$cache/keycloak-$version
log=$state/log
source "$here/process.sh"

install() {
  [[ -f $dist/.complete ]] && return
  local fetched
  fetched=$(mktemp -d)
  mkdir -p "$cache"
  again mvn -q -B dependency:copy -Dartifact=org.keycloak:keycloak-quarkus-dist:$version:tar.gz -DoutputDirectory="$fetched"
  tar xzf "$fetched"/keycloak-*.tar.gz -C "$cache"
  rm -rf "$fetched"
  touch "$dist/.complete"
}

start() {
  install
  alive && return
  port_is_free
  mkdir -p "$state"
  cp -r "$dist" "$state/keycloak"
  mkdir -p "$state/keycloak/data/import"
  # tests reuse their tokens, and some tests are long
  sed 's/"accessTokenLifespan": [0-9]*/"accessTokenLifespan": 3600/' "$here/../../deploy/keycloak/realm.json" >"$state/keycloak/data/import/realm.json"
  grep -q '"accessTokenLifespan": 3600' "$state/keycloak/data/import/realm.json"
  export KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=${KC_ADMIN_PASSWORD:?}
  export JAVA_OPTS_APPEND="-XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true"
  local scheme=http options=(--http-port="$port") trust=()
  if [[ -n ${KC_TLS:-} ]]; then
    scheme=https trust=(--cacert "$KC_TLS/ca.pem")
    options=(--http-enabled=false --https-port="$port"
      --https-certificate-file="$KC_TLS/server.pem" --https-certificate-key-file="$KC_TLS/server.key")
  fi
  launch "$state/keycloak/bin/kc.sh" start-dev --import-realm --cache=local --http-host=127.0.0.1 "${options[@]}" --log-level=warn
  local issuer=$scheme://127.0.0.1:$port/realms/spring-cloud-microservices-realm
  until_it "$issuer" answers "$issuer/.well-known/openid-configuration" "${trust[@]}"
}

"command_${1:-usage}"
