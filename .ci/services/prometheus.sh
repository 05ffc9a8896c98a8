#!/usr/bin/env bash
# Prometheus (Debian's) on loopback with the files of deploy/prometheus; only addresses are changed, and intervals are
# one second. Needs apt-get as root to install it.
# usage: prometheus.sh install|start|stop|kill|status    env: STATE_DIR PROMETHEUS_PORT ALERTMANAGER_PORT, and one of
# REGISTRY, host:port of the shop's registry, with its PASSWORD_FILE; and SHOP, host:port of a shop in one process
set -euo pipefail
name=prometheus
state=${STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/tradepost-ci/$name}
port=${PROMETHEUS_PORT:-19090}
log=$state/$name.log
source "$(dirname "${BASH_SOURCE[0]}")/process.sh"

install() { need prometheus=prometheus curl=curl; }

start() {
  install
  alive && return
  port_is_free
  mkdir -p "$state"
  rm -rf "$state/config"
  cp -r "$(dirname "${BASH_SOURCE[0]}")/../../deploy/prometheus" "$state/config"
  sed -i -E "s/(scrape_interval|scrape_timeout|evaluation_interval|refresh_interval): [0-9]+s/\1: 1s/
    s/127\.0\.0\.1:9090/127.0.0.1:$port/; s/127\.0\.0\.1:9093/127.0.0.1:${ALERTMANAGER_PORT:-19093}/
    s/127\.0\.0\.1:8761/${REGISTRY:-127.0.0.1:8761}/; s/127\.0\.0\.1:5294/${SHOP:-127.0.0.1:5294}/
    s|secrets/registry-password|${PASSWORD_FILE:-/dev/null}|" "$state/config/prometheus.yml" "$state/config/all-in-one.yml"
  local file=prometheus.yml
  if [[ -n ${SHOP:-} ]]; then file=all-in-one.yml; fi
  launch prometheus --config.file="$state/config/$file" --storage.tsdb.path="$state/data" \
    --web.listen-address="127.0.0.1:$port" --log.level=warn
  until_it "http://127.0.0.1:$port" answers "http://127.0.0.1:$port/-/ready"
}

"command_${1:-usage}"
