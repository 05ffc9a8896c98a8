#!/usr/bin/env bash
# The shop with a real Keycloak as its issuer: started here, with the realm of deploy/keycloak/, and stopped at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source .ci/install.sh
need javac=default-jdk-headless mvn=maven
random() { head -c 18 /dev/urandom | base64 | tr '+/' '-_'; }
export STATE_DIR=${STATE_DIR:-$(mktemp -d)} KC_PORT=${KC_PORT:-8180}
export TRADEPOST_SERVICE_SECRET=$(random) MICROSERVICES_CLIENT_SECRET=$(random) KC_ADMIN_PASSWORD=$(random)
# the tests know the demo users of the built-in issuer
export DEMO_ADMIN_PASSWORD=admin DEMO_ALICE_PASSWORD=alice
export TRADEPOST_TEST_KEYCLOAK=http://127.0.0.1:$KC_PORT

trap '.ci/services/keycloak.sh stop; rm -rf "$STATE_DIR"' EXIT
.ci/services/keycloak.sh start

run() {
  # grep's word for it: a filter that no test matches must not pass as green
  local test=(cargo test --locked --features "${FEATURES:-}" --test shop "$@")
  if command -v mold >/dev/null; then test=(mold -run "${test[@]}"); fi
  "${test[@]}" 2>&1 | tee "$STATE_DIR/tests"
  grep -qE '^test result: ok\. [1-9]' "$STATE_DIR/tests"
}
run security::keycloak -- --ignored --nocapture
