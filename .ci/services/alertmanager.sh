#!/usr/bin/env bash
# Alertmanager (Debian's) on loopback with deploy/alertmanager; mail is not delivered. Needs apt-get as root to install it.
# usage: alertmanager.sh install|start|stop|kill|status    env: STATE_DIR ALERTMANAGER_PORT
set -euo pipefail
name=alertmanager
state=${STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/tradepost-ci/$name}
port=${ALERTMANAGER_PORT:-19093}
log=$state/$name.log
source "$(dirname "${BASH_SOURCE[0]}")/process.sh"

install() { need prometheus-alertmanager=prometheus-alertmanager curl=curl; }

start() {
  install
  alive && return
  port_is_free
  mkdir -p "$state"
  # no grouping delay for tests; port 9 accepts no mail
  sed -E 's/group_wait: [0-9]+s/group_wait: 0s/; s/(smtp_smarthost: ).*/\1127.0.0.1:9/' \
    "$(dirname "${BASH_SOURCE[0]}")/../../deploy/alertmanager/alertmanager.yml" >"$state/alertmanager.yml"
  launch prometheus-alertmanager --config.file="$state/alertmanager.yml" --storage.path="$state/alertmanager" \
    --web.listen-address="127.0.0.1:$port" --cluster.listen-address= --log.level=warn
  until_it "http://127.0.0.1:$port" answers "http://127.0.0.1:$port/-/ready"
}

"command_${1:-usage}"
