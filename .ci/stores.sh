#!/usr/bin/env bash
# The same scenarios on the real servers, Oracle MySQL 8 and MariaDB 10.11 (split ones run on them in together.sh),
# and tests that need a server: conflicts, concurrent schema changes by several instances, a server killed under load.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh

work=$(mktemp -d)
service=

clean_up() {
  local code=$?
  if [[ -n $service ]]; then bash "$service" stop || true; fi
  rm -rf "$work"
  exit "$code"
}
trap clean_up EXIT

source .ci/install.sh
need openssl=openssl
.ci/services/certificates.sh servers "$work/certificates"
FEATURES=${FEATURES:-mysql,tls}
for name in ${STORES:-mysql8 mariadb}; do
  service=.ci/services/$name.sh
  # the server is killed, not the machine: its writes survive without fsync
  export FLUSH=2
  export STATE_DIR=$work/$name MYSQL_PORT=${PORT:-13306}
  chmod 755 "$work" # MariaDB's server drops root's rights
  bash "$service" start
  export TRADEPOST_TEST_MYSQL=mysql://root@127.0.0.1:$MYSQL_PORT TRADEPOST_TEST_MYSQL_SERVICE=$PWD/$service
  echo "-- scenarios on $name"
  shop_tests -- scenarios:: --skip ::split --test-threads "${TEST_THREADS:-4}"
  echo "-- $name itself"
  # one after the other: one of them kills the server
  shop_tests -- mysql:: --ignored --skip mysql::tls --nocapture --test-threads 1
  bash "$service" stop
  echo "-- $name with TLS only"
  export CERTIFICATES=$work/certificates TRADEPOST_TEST_CERTIFICATES=$work/certificates
  bash "$service" start
  shop_tests -- scenarios::orders scenarios::limits --test-threads "${TEST_THREADS:-4}"
  shop_tests -- mysql::tls --ignored --nocapture
  unset CERTIFICATES TRADEPOST_TEST_CERTIFICATES
  bash "$service" stop
  service=
done
tested "scenarios, mysql:: and TLS on ${STORES:-mysql8 mariadb}"
