#!/usr/bin/env bash
# The split shop on a real Kafka, with a real Zipkin; both are started here and stopped at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source .ci/common.sh
source .ci/install.sh
need_java

work=$(mktemp -d)
export KAFKA_PORT=${KAFKA_PORT:-9092} ZIPKIN_PORT=${ZIPKIN_PORT:-9411}
kafka() { STATE_DIR=$work/kafka .ci/services/kafka.sh "$@"; }
zipkin() { STATE_DIR=$work/zipkin .ci/services/zipkin.sh "$@"; }
clean_up() {
  local code=$?
  zipkin stop || true
  kafka stop || true
  if ((code != 0)); then tail -n 20 "$work/zipkin/zipkin.log" >&2 || true; fi
  rm -rf "$work"
}
trap clean_up EXIT

kafka start
zipkin start
export TRADEPOST_TEST_KAFKA=127.0.0.1:$KAFKA_PORT TRADEPOST_TEST_ZIPKIN=http://127.0.0.1:$ZIPKIN_PORT

FEATURES=${FEATURES:-kafka}
shop_tests tracing::zipkin -- --ignored --nocapture --test-threads 1
