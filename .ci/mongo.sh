#!/usr/bin/env bash
# The shop with its products on a server of MongoDB's protocol, started here and stopped at the end: scenarios,
# and tests that need such a server; split scenarios run on it in together.sh. No package registry has a real mongod:
# see features.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export MONGO_PORT=${MONGO_PORT:-27217} STATE_DIR=${STATE_DIR:-$(mktemp -d)}
service=.ci/services/mongojava.sh
secure=$STATE_DIR/secure

clean_up() {
  local code=$?
  bash "$service" stop || true
  STATE_DIR=$secure bash "$service" stop || true
  rm -rf "$STATE_DIR"
  exit "$code"
}
trap clean_up EXIT

# Certificates for the second server, and another authority that clients must reject.
source .ci/common.sh
source .ci/install.sh
need openssl=openssl
mkdir -p "$secure"
for name in server other; do
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 \
    -addext basicConstraints=critical,CA:FALSE -keyout "$secure/$name.key" -out "$secure/$name.pem" 2>/dev/null
done

bash "$service" start
STATE_DIR=$secure MONGO_PORT=$((MONGO_PORT + 1)) TLS=$secure bash "$service" start
export TRADEPOST_TEST_MONGO=mongodb://127.0.0.1:$MONGO_PORT
export TRADEPOST_TEST_MONGO_TLS=mongodb://127.0.0.1:$((MONGO_PORT + 1)) TRADEPOST_TEST_MONGO_CA=$secure

FEATURES=${FEATURES:-mongodb}
shop_tests -- mongo:: --ignored --nocapture --test-threads 1
shop_tests -- scenarios:: --skip ::split --test-threads "${TEST_THREADS:-4}"
