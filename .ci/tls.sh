#!/usr/bin/env bash
# The shop over TLS: accepted and trusted certificates; then every scenario of a split shop with certificates on both
# sides of every hop, and some of them with a real Keycloak that also uses TLS. Certificates are generated here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source .ci/common.sh
source .ci/install.sh
need_java openssl=openssl
work=$(mktemp -d)
export STATE_DIR=$work/keycloak
trap '.ci/services/keycloak.sh stop; rm -rf "$work"' EXIT

FEATURES=${FEATURES:-tls}
shop_tests tls::

export TRADEPOST_TEST_TLS=$work/certificates
.ci/services/certificates.sh authority "$TRADEPOST_TEST_TLS"
.ci/services/certificates.sh issue "$TRADEPOST_TEST_TLS" server DNS:localhost,IP:127.0.0.1 2
.ci/services/certificates.sh issue "$TRADEPOST_TEST_TLS" client DNS:client 2
shop_tests -- ::split scenarios::http2 scenarios::front_door

export KC_PORT=${KC_PORT:-8180} KC_TLS=$TRADEPOST_TEST_TLS
export TRADEPOST_SERVICE_SECRET=$(random_secret) MICROSERVICES_CLIENT_SECRET=$(random_secret) KC_ADMIN_PASSWORD=$(random_secret)
export DEMO_ADMIN_PASSWORD=admin DEMO_ALICE_PASSWORD=alice
.ci/services/keycloak.sh start
TRADEPOST_TEST_ISSUER=https://127.0.0.1:$KC_PORT/realms/spring-cloud-microservices-realm shop_tests scenarios::orders -- --skip ::local --skip ::loopback
