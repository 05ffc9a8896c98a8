#!/usr/bin/env bash
# Fetches and builds prerequisites of later stages in idle time. DIR/PART has the output of a part, DIR/PART.code its exit code.
# usage: setsid beside.sh DIR PART...   in its own session, which can be ended as a whole
#   PART: a script of .ci/services, base (of images), cargo-tools and k8s (programs), images
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
dir=$1
shift

# Niceness applies within a session; with autogrouping, this lowers the priority of the whole session.
if [[ -w /proc/self/autogroup ]]; then echo 19 >/proc/self/autogroup; fi
renice -n 19 $$ >/dev/null

make() {
  case $1 in
    base) .ci/services/docker.sh install && STATE_DIR=$dir/state/base .ci/services/docker.sh base ca-certificates,socat ;;
    cargo-tools) (source .ci/common.sh && source .ci/install.sh && install_cargo_tools) ;;
    k8s) .ci/k8s.sh tools ;;
    images) CPU_SHARES=100 .ci/images.sh build ;;
    *) STATE_DIR=$dir/state/$1 ".ci/services/$1.sh" install ;;
  esac
}

for part; do
  code=0
  make "$part" >"$dir/$part" 2>&1 || code=$?
  echo "$code" >"$dir/$part.code"
done
