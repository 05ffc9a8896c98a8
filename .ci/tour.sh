#!/usr/bin/env bash
# Runs README.md's tour, command by command, in a fresh folder. It needs the shop's default ports (5294, 5295, 8761); if
# they are in use, root runs it in a separate network namespace.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh

source .ci/install.sh
need python3=python3 curl=curl ps=procps
root=$PWD
if [[ -z ${TOUR_ALONE:-} ]]; then
  cargo build --locked
  taken=
  for port in 5294 5295 8761; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then taken=$port; fi
  done
  if [[ -n $taken ]]; then
    ((EUID == 0)) || { echo "port $taken is in use, but the tour needs it" >&2; exit 1; }
    need ip=iproute2
    TOUR_ALONE=yes exec unshare --net bash -c 'ip link set lo up && exec "$0"' "$root/.ci/tour.sh"
  fi
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/shop"
# links to the parts of the clone that the commands use; data and settings are the tour's own
ln -s "${CARGO_TARGET_DIR:-$root/target}" "$work/shop/target"
ln -s "$root/demo" "$work/shop/demo"
# runs this project's cargo from any folder
mkdir "$work/bin"
printf '#!/bin/sh\nverb=$1\nshift\nexec "%s" "$verb" --quiet --locked --manifest-path "%s/Cargo.toml" "$@"\n' "$(type -P cargo)" "$root" >"$work/bin/cargo"
chmod +x "$work/bin/cargo"
cd "$work/shop"
PATH=$work/bin:$PATH python3 "$root/.ci/tour.py" "$root/README.md"
