#!/usr/bin/env bash
# Tradepost beside Spring Cloud: a Eureka client, a Eureka server, a Spring Cloud Gateway and a Spring Boot Admin server,
# built with mvn from tests/interop and run one after the other. See tests/interop/README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

started=$SECONDS
work=$(mktemp -d)
part= # process group of the running part

clean_up() {
  local code=$?
  # its own group: also ends the shops that a part has started
  if [[ -n $part ]]; then kill -KILL -- "-$part" 2>/dev/null || true; fi
  rm -rf "$work"
  ((code == 0)) || echo "interop: failed with $code after $((SECONDS - started)) s" >&2
}
trap clean_up EXIT
trap 'exit 143' INT TERM

source .ci/install.sh
need_java

source .ci/common.sh
binary=$PWD/target/debug/tradepost
cargo build --quiet --locked

# Maven downloads hundreds of files; one failed download must not fail the build
again mvn --quiet --batch-mode --file tests/interop/pom.xml package || { echo "tests/interop does not build" >&2; exit 1; }
echo "built in $((SECONDS - started)) s"

passed=0
set -m
for name in client server gateway admin; do
  since=$SECONDS
  timeout --foreground 900 java -Xmx256m -Dtradepost="$binary" -Dwork="$work" -Droutes=tests/interop/gateway/routes.yml \
    -jar "tests/interop/$name/target/$name.jar" </dev/null >"$work/$name.log" 2>&1 &
  part=$!
  code=0
  wait "$part" || code=$?
  kill -KILL -- "-$part" 2>/dev/null || true
  part=
  if ((code != 0)); then
    cat "$work/$name.log"
    exit 1
  fi
  grep -E "^(ok|$name:) " "$work/$name.log"
  # a part without a result has not passed
  count=$(sed -n "s/^$name: \([0-9]\+\) checks passed, 0 failed$/\1/p" "$work/$name.log")
  [[ -n $count ]] || { echo "$name printed no result" >&2; exit 1; }
  passed=$((passed + count))
  echo "-- $name took $((SECONDS - since)) s"
done
tested "$passed checks with a Spring Cloud Eureka client and server, Gateway, and Spring Boot Admin"
