#!/usr/bin/env bash
# The shop on a real Kafka, started here and stopped at the end: every scenario, split, and what only Kafka can show.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing=()
command -v mvn >/dev/null || missing+=(default-jdk-headless maven)
command -v ss >/dev/null || missing+=(iproute2)
# librdkafka is compiled from source
command -v g++ >/dev/null || missing+=(g++)
command -v make >/dev/null || missing+=(make)
if ((${#missing[@]})); then
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
fi
export STATE_DIR=${STATE_DIR:-$(mktemp -d)} KAFKA_PORT=${KAFKA_PORT:-9092}
export TRADEPOST_TEST_KAFKA=127.0.0.1:$KAFKA_PORT

trap '.ci/services/kafka.sh stop; rm -rf "$STATE_DIR"' EXIT
.ci/services/kafka.sh start

run() {
  local test=(cargo test --locked --features kafka --test shop "$@")
  if command -v mold >/dev/null; then test=(mold -run "${test[@]}"); fi
  # grep's word for it: a filter that no test matches must not pass as green
  "${test[@]}" 2>&1 | tee "$STATE_DIR/tests"
  grep -qE '^test result: ok\. [1-9]' "$STATE_DIR/tests"
}
run chaos::kafka:: -- --ignored --nocapture --test-threads 2
# alone: it kills the broker, too
run chaos::kafka_restarts -- --ignored --nocapture
run scenarios -- --skip ::local --skip ::loopback
