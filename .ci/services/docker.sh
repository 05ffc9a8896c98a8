#!/usr/bin/env bash
# A Docker engine (Debian's docker.io) of its own: data root, socket and network namespace are its own, and what else
# runs on the machine, its iptables and forwarding, is left as it is. Needs root.
# usage: docker.sh install | start [isolated|host] | stop | status | import-base NAME:TAG [PACKAGE,PACKAGE...]
#   isolated (the default): bridge networks and published ports within the namespace; containers reach nothing outside.
#     Published ports and containers are reached by nsenter --net=/run/netns/$DOCKER_NETNS
#   host: no bridge, the machine's network: for `docker build --network host`. The images are the same: build so, then
#     start isolated to run them.
#   import-base: a Debian bookworm made by debootstrap, under the name of an image that cannot be pulled
# environment: STATE_DIR CACHE_DIR DOCKER_NETNS; then DOCKER_HOST=unix://$STATE_DIR/docker.sock
set -euo pipefail
name=docker
state=${STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/tradepost-ci/$name}
cache=${CACHE_DIR:-$HOME/.cache/tradepost-ci}
netns=${DOCKER_NETNS:-tradepost-ci}
log=$state/$name.log
export DOCKER_HOST=unix://$state/docker.sock
source "$(dirname "${BASH_SOURCE[0]}")/process.sh"

# which package the program comes with depends on Debian's release, so it is asked for by its daemon
install() { need /usr/sbin/dockerd=docker.io iptables=iptables ip=iproute2 nsenter=util-linux debootstrap=debootstrap docker-compose=docker-compose; }

answers_docker() { docker version --format '{{.Server.Version}}' >/dev/null; }

start() {
  install
  alive && return
  mkdir -p "$state"
  local network=(--bip 172.31.250.1/24 --default-address-pool base=172.31.240.0/21,size=24) inside=()
  case $1 in
    host) network=(--iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --bridge=none) ;;
    isolated)
      if [[ ! -e /run/netns/$netns ]]; then
        ip netns add "$netns"
        touch "$state/netns.ours"
      fi
      inside=(nsenter "--net=/run/netns/$netns")
      "${inside[@]}" ip link set lo up
      ;;
    *) command_usage ;;
  esac
  launch "${inside[@]}" /usr/sbin/dockerd --data-root "$state/data" --exec-root "$state/exec" --pidfile "$state/own.pid" \
    -H "$DOCKER_HOST" "${network[@]}"
  until_it "$DOCKER_HOST, $1" answers_docker
}

stop() {
  local running
  if alive; then
    running=$(docker ps -q)
    # shellcheck disable=SC2086
    if [[ -n $running ]]; then docker kill $running >/dev/null; fi
  fi
  end_with TERM
  umount "$state"/exec/netns/* 2>/dev/null || true
  if [[ -e $state/netns.ours ]]; then
    ip netns del "$netns" || true
    rm "$state/netns.ours"
  fi
}

import_base() {
  local image=$1 packages=${2:-ca-certificates} archive root
  archive=$cache/bookworm-${packages//,/+}.tar
  if [[ ! -s $archive ]]; then
    mkdir -p "$cache" "$state"
    root=$(mktemp -d)
    debootstrap --variant=minbase --include="$packages" bookworm "$root" >"$state/debootstrap.log" 2>&1 || { tail "$state/debootstrap.log" >&2; return 1; }
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    tar -C "$root" --numeric-owner -cf "$archive.new" .
    mv "$archive.new" "$archive"
    rm -rf "$root"
  fi
  docker import --change 'CMD ["bash"]' "$archive" "$image"
}

command_start() { start "${1:-isolated}"; }
command_stop() { stop; }
command_import-base() { import_base "$@"; }
command_usage() { sed -n 4,11p "${BASH_SOURCE[0]}" >&2; return 2; }
"command_${1:-usage}" "${@:2}"
