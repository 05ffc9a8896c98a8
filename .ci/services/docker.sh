#!/usr/bin/env bash
# A separate Docker engine (Debian's docker.io) with its own data root, socket and network namespace. The machine's other
# processes, iptables and forwarding are not affected. Needs root.
# usage: docker.sh install | start [isolated|host] | stop | status | import-base NAME:TAG [PACKAGE,...] | base PACKAGE,...
#   isolated (the default): bridge networks and published ports within the namespace; containers cannot connect to the outside.
#     Published ports and containers are reached by nsenter --net=/run/netns/$DOCKER_NETNS
#   host: no bridge, the machine's network: for `docker build --network host`. The images are the same: build so, then
#     start isolated to run them.
#   import-base: imports a Debian bookworm made by debootstrap, under the name of an image that cannot be pulled
#   base: makes that Debian in CACHE_DIR, without an image
# environment: STATE_DIR CACHE_DIR DOCKER_NETNS; CPU_SHARES: the CPU share of the containers under contention (1024 is the
#   default of every group); then DOCKER_HOST=unix://$STATE_DIR/docker.sock
set -euo pipefail
name=docker
state=${STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/tradepost-ci/$name}
cache=${CACHE_DIR:-$HOME/.cache/tradepost-ci}
netns=${DOCKER_NETNS:-tradepost-ci}
log=$state/$name.log
export DOCKER_HOST=unix://$state/docker.sock
source "$(dirname "${BASH_SOURCE[0]}")/process.sh"

# the package of the client depends on Debian's release, so the daemon is checked
install() { need /usr/sbin/dockerd=docker.io iptables=iptables ip=iproute2 nsenter=util-linux debootstrap=debootstrap docker-compose=docker-compose; }

answers_docker() { docker version --format '{{.Server.Version}}' >/dev/null; }

start() {
  install
  alive && return
  mkdir -p "$state"
  # shellcheck disable=SC2054
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
  share
  launch "${inside[@]}" /usr/sbin/dockerd --data-root "$state/data" --exec-root "$state/exec" --pidfile "$state/own.pid" \
    -H "$DOCKER_HOST" "${network[@]}"
  until_it "$DOCKER_HOST, $1" answers_docker
}

# Containers and builds run in a separate cgroup, to which the niceness of the engine's parent does not apply. Version 1
# of cgroups uses shares, version 2 weights from 1 to 10000 with a default of 100.
share() {
  local shares=${CPU_SHARES:-1024} group
  for group in /sys/fs/cgroup/cpu/docker /sys/fs/cgroup/docker; do
    [[ -d ${group%/*} && $(stat -fc %T "${group%/*}") == cgroup* ]] || continue
    mkdir -p "$group" 2>/dev/null || continue
    if [[ -w $group/cpu.shares ]]; then echo "$shares" >"$group/cpu.shares"; fi
    if [[ -w $group/cpu.weight ]]; then echo $((shares * 100 / 1024 + 1)) >"$group/cpu.weight"; fi
  done
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

archive_of() { echo "$cache/bookworm-${1//,/+}.tar"; }

# One at a time, in its own shell: its exit releases the lock.
base() (
  archive=$(archive_of "$1") root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  mkdir -p "$cache" "$state"
  exec 8>"$archive.lock"
  flock 8
  if [[ -s $archive ]]; then exit; fi
  bootstrap() {
    rm -rf "$root"
    debootstrap --variant=minbase --include="$1" bookworm "$root"
  }
  again bootstrap "$1" >"$state/debootstrap.log" 2>&1 || { tail "$state/debootstrap.log" >&2; exit 1; }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" --numeric-owner -cf "$archive.new" .
  mv "$archive.new" "$archive"
)

import_base() {
  local image=$1 packages=${2:-ca-certificates}
  base "$packages"
  docker import --change 'CMD ["bash"]' "$(archive_of "$packages")" "$image"
}

command_start() { start "${1:-isolated}"; }
command_stop() { stop; }
command_import-base() { import_base "$@"; }
command_base() { base "$@"; }
command_usage() { sed -n 4,12p "${BASH_SOURCE[0]}" >&2; return 2; }
"command_${1:-usage}" "${@:2}"
