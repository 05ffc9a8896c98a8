#!/usr/bin/env bash
# What .ci/run has built in the idle time of all else: first what its stages fetch, then Vault, and the images, which
# take the longest. DIR/NAME has what was said, DIR/NAME.code how it ended.
# usage: setsid beside.sh DIR   in a session of its own, which may be ended whole
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=$1

# Being nice counts within a session; where sessions share the processors evenly, this one asks for less.
if [[ -w /proc/self/autogroup ]]; then echo 19 >/proc/self/autogroup; fi
renice -n 19 $$ >/dev/null

fetch() {
  local server
  for server in kafka keycloak mysql8 mongojava zipkin; do
    STATE_DIR=$dir/$server ".ci/services/$server.sh" install || return
  done
  .ci/services/docker.sh base ca-certificates,socat && .ci/k8s.sh tools
}

# in_turn NAME COMMAND...
in_turn() {
  local name=$1 code=0
  shift
  "$@" >"$dir/$name" 2>&1 || code=$?
  echo "$code" >"$dir/$name.code"
}

in_turn fetched fetch
in_turn vault .ci/services/vault.sh install
CPU_SHARES=100 in_turn images .ci/images.sh build
