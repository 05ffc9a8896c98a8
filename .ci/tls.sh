#!/usr/bin/env bash
# The shop over TLS: what it lets in and whom it trusts; then every scenario of a split shop with certificates on
# both sides of every hop, and some of them with a real Keycloak that speaks TLS, too. Certificates are made here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source .ci/install.sh
need openssl=openssl javac=default-jdk-headless mvn=maven
work=$(mktemp -d)
export STATE_DIR=$work/keycloak
trap '.ci/services/keycloak.sh stop; rm -rf "$work"' EXIT

run() {
  # grep's word for it: a filter that no test matches must not pass as green
  local test=(cargo test --locked --features "${FEATURES:-tls}" --test shop "$@")
  if command -v mold >/dev/null; then mold -run "${test[@]}"; else "${test[@]}"; fi 2>&1 | tee "$work/tests"
  grep -qE '^test result: ok\. [1-9]' "$work/tests"
}
run tls::

export TRADEPOST_TEST_TLS=$work/certificates
.ci/services/certificates.sh authority "$TRADEPOST_TEST_TLS"
.ci/services/certificates.sh issue "$TRADEPOST_TEST_TLS" server DNS:localhost,IP:127.0.0.1 2
.ci/services/certificates.sh issue "$TRADEPOST_TEST_TLS" client DNS:client 2
run -- ::split scenarios::http2 scenarios::front_door

random() { head -c 18 /dev/urandom | base64 | tr '+/' '-_'; }
export KC_PORT=${KC_PORT:-8180} KC_TLS=$TRADEPOST_TEST_TLS
export TRADEPOST_SERVICE_SECRET=$(random) MICROSERVICES_CLIENT_SECRET=$(random) KC_ADMIN_PASSWORD=$(random)
export DEMO_ADMIN_PASSWORD=admin DEMO_ALICE_PASSWORD=alice
.ci/services/keycloak.sh start
TRADEPOST_TEST_ISSUER=https://127.0.0.1:$KC_PORT/realms/spring-cloud-microservices-realm run scenarios::orders -- --skip ::local --skip ::loopback
