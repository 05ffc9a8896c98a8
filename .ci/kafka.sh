#!/usr/bin/env bash
# The shop on a real Kafka, started here and stopped at the end: tests that need Kafka. The scenarios run on it in
# together.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source .ci/common.sh
source .ci/install.sh
need_java openssl=openssl
export STATE_DIR=${STATE_DIR:-$(mktemp -d)} KAFKA_PORT=${KAFKA_PORT:-9092}
export TRADEPOST_TEST_KAFKA=127.0.0.1:$KAFKA_PORT
export CERTIFICATES=$STATE_DIR/certificates KAFKA_PASSWORD=a-word-of-the-test
export TRADEPOST_TEST_CERTIFICATES=$CERTIFICATES TRADEPOST_TEST_KAFKA_PASSWORD=$KAFKA_PASSWORD

trap '.ci/services/kafka.sh stop; rm -rf "$STATE_DIR"' EXIT
.ci/services/certificates.sh servers "$CERTIFICATES"
.ci/services/kafka.sh start

FEATURES=${FEATURES:-kafka-tls}
shop_tests chaos::kafka:: -- --ignored --nocapture --test-threads 2
shop_tests chaos::kafka_tls:: -- --include-ignored --nocapture --test-threads 2
shop_tests chaos::kafka_large:: -- --ignored --nocapture --test-threads 2
shop_tests chaos::kafka_groups:: -- --ignored --nocapture
# on its own: it also kills the broker
shop_tests chaos::kafka_restarts -- --ignored --nocapture
.ci/services/kafka.sh stop

echo "-- three brokers"
node() {
  KAFKA_NODE=$1 KAFKA_PORT=$((KAFKA_PORT + 10 * $1)) STATE_DIR=$STATE_DIR/node-$1 CERTIFICATES= .ci/services/kafka.sh "$2"
}
trap 'for n in 1 2 3; do node $n stop; done; rm -rf "$STATE_DIR"' EXIT
voters=() brokers=()
for n in 1 2 3; do
  voters+=("$n@127.0.0.1:$((KAFKA_PORT + 10 * n + 1))") brokers+=("127.0.0.1:$((KAFKA_PORT + 10 * n))")
done
export KAFKA_VOTERS=$(IFS=,; echo "${voters[*]}") TRADEPOST_TEST_KAFKA=$(IFS=,; echo "${brokers[*]}")
starting=()
for n in 1 2 3; do
  node $n start &
  starting+=($!)
done
for one in "${starting[@]}"; do wait "$one"; done
shop_tests chaos::kafka_cluster:: -- --ignored --nocapture
