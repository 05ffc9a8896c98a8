#!/usr/bin/env bash
# MariaDB 10.11 (Debian's mariadb-server) as a private instance on loopback. Needs apt-get as root to install it.
# usage: mariadb.sh install|start|stop|kill|status    env: STATE_DIR MYSQL_PORT FLUSH CERTIFICATES
# FLUSH is innodb_flush_log_at_trx_commit: 1, the default, makes each commit durable by an fsync.
set -euo pipefail
name=mariadb
state=${STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/tradepost-ci/$name}
port=${MYSQL_PORT:-33081}
log=$state/$name.log
source "$(dirname "${BASH_SOURCE[0]}")/process.sh"

install() {
  command -v mariadbd >/dev/null || apt_install mariadb-server
}

start() {
  install
  alive && return
  port_is_free
  mkdir -p "$state"
  local user=()
  if ((EUID == 0)); then
    user=(--user=mysql)
    chown mysql: "$state"
  fi
  if [[ ! -d $state/data/mysql ]]; then
    rm -rf "$state/data"
    mariadb-install-db --no-defaults "${user[@]}" --datadir="$state/data" --auth-root-authentication-method=normal --skip-test-db \
      >"$state/init.log" 2>&1
  fi
  # loopback only, temporary data: root without a password
  launch mariadbd --no-defaults "${user[@]}" --datadir="$state/data" --socket="$state/my.sock" --pid-file="$state/own.pid" \
    --bind-address=127.0.0.1 --port="$port" --character-set-server=utf8mb4 --innodb-buffer-pool-size=64M --max-connections=600 \
    --performance-schema=OFF --innodb-flush-log-at-trx-commit="${FLUSH:-1}" "${encrypted[@]}"
  until_it "mysql://root@127.0.0.1:$port" greets
}

"command_${1:-usage}"
