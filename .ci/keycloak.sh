#!/usr/bin/env bash
# The shop with a real Keycloak as its issuer: started here, with the realm of deploy/keycloak/, and stopped at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source .ci/common.sh
source .ci/install.sh
need_java
export STATE_DIR=${STATE_DIR:-$(mktemp -d)} KC_PORT=${KC_PORT:-8180}
export TRADEPOST_SERVICE_SECRET=$(random_secret) MICROSERVICES_CLIENT_SECRET=$(random_secret) KC_ADMIN_PASSWORD=$(random_secret)
# the tests use the demo users of the built-in issuer
export DEMO_ADMIN_PASSWORD=admin DEMO_ALICE_PASSWORD=alice
export TRADEPOST_TEST_KEYCLOAK=http://127.0.0.1:$KC_PORT

trap '.ci/services/keycloak.sh stop; rm -rf "$STATE_DIR"' EXIT
.ci/services/keycloak.sh start

shop_tests security::keycloak -- --ignored --nocapture
