#!/usr/bin/env bash
# A real Zipkin from Maven's registry, on loopback. It keeps everything in memory.
# usage: zipkin.sh install|start|stop|kill|status   (needs mvn, java 17)
# environment: STATE_DIR (log, process id), CACHE_DIR (the jar), ZIPKIN_PORT
set -euo pipefail
name=zipkin version=3.6.1
state=${STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/tradepost-ci/$name}
cache=${CACHE_DIR:-$HOME/.cache/tradepost-ci}
port=${ZIPKIN_PORT:-9411}
log=$state/$name.log jar=$cache/zipkin-server-$version-exec.jar
source "$(dirname "${BASH_SOURCE[0]}")/process.sh"

install() {
  [[ -f $jar ]] && return
  need java=default-jdk-headless mvn=maven
  local work
  work=$(mktemp -d)
  mkdir -p "$cache"
  again mvn -q -B dependency:copy -Dartifact="io.zipkin:zipkin-server:$version:jar:exec" -DoutputDirectory="$work"
  mv "$work/${jar##*/}" "$jar"
  rm -rf "$work"
}

start() {
  install
  alive && return
  port_is_free
  mkdir -p "$state"
  # Zipkin has no setting for the address; Armeria's port setting has one
  launch java -Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -jar "$jar" \
    --armeria.ports[0].ip=127.0.0.1 --armeria.ports[0].port="$port" --armeria.ports[0].protocols[0]=http --logging.level.root=WARN
  until_it "http://127.0.0.1:$port" answers "http://127.0.0.1:$port/health"
}

"command_${1:-usage}"
