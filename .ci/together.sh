#!/usr/bin/env bash
# Every scenario, with one process per module and all the real servers at once: MySQL 8 and MariaDB in turn, MongoDB's
# protocol, Kafka and Keycloak. Started here and stopped at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source .ci/common.sh
source .ci/install.sh
need_java
work=$(mktemp -d)
chmod 755 "$work" # MariaDB's server drops root's rights
running=()

# start NAME KEY=VALUE...: starts it with its own state folder
start() {
  local name=$1
  running+=("$name")
  env STATE_DIR="$work/$name" "${@:2}" bash ".ci/services/$name.sh" start
}

stop() {
  STATE_DIR=$work/$1 bash ".ci/services/$1.sh" stop || true
}

clean_up() {
  local code=$? name
  for name in "${running[@]}"; do stop "$name"; done
  rm -rf "$work"
  exit "$code"
}
trap clean_up EXIT

export KC_PORT=${KC_PORT:-8180} KAFKA_PORT=${KAFKA_PORT:-9092} MONGO_PORT=${MONGO_PORT:-27217} MYSQL_PORT=${MYSQL_PORT:-13306}
export TRADEPOST_SERVICE_SECRET=$(random_secret) MICROSERVICES_CLIENT_SECRET=$(random_secret) KC_ADMIN_PASSWORD=$(random_secret)
# the tests use the demo users of the built-in issuer
export DEMO_ADMIN_PASSWORD=admin DEMO_ALICE_PASSWORD=alice
FEATURES=${FEATURES:-mysql,mongodb,kafka}
# this tests the modules, not the disk: the servers need no fsync
export FLUSH=2
start keycloak
start kafka
start mongojava
export TRADEPOST_TEST_ISSUER=http://127.0.0.1:$KC_PORT/realms/spring-cloud-microservices-realm
export TRADEPOST_TEST_KAFKA=127.0.0.1:$KAFKA_PORT TRADEPOST_TEST_MONGO=mongodb://127.0.0.1:$MONGO_PORT
for name in ${STORES:-mysql8 mariadb}; do
  start "$name"
  export TRADEPOST_TEST_MYSQL=mysql://root@127.0.0.1:$MYSQL_PORT
  echo "-- $name, MongoDB's protocol, Kafka and Keycloak together"
  shop_tests -- scenarios:: --skip ::local --skip ::loopback --test-threads "${TEST_THREADS:-2}"
  stop "$name"
done
tested "every split scenario with MongoDB's protocol, Kafka and Keycloak, on ${STORES:-mysql8 mariadb}"
