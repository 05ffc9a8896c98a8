#!/bin/bash
# Keycloak reads the passwords of its first administrator and of the realm only from its environment. This script sets
# them from files within the container, so that `docker inspect` does not show them.
set -euo pipefail

# checks that the realm exists; the image has little more than bash
if [[ ${1:-} == healthy ]]; then
  exec 3<>/dev/tcp/127.0.0.1/8080
  printf 'GET /realms/spring-cloud-microservices-realm HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
  read -r _ status _ <&3
  [[ $status == 200 ]]
  exit
fi

secret() {
  [[ -s /run/secrets/$1 ]] || { echo "there is no password in /run/secrets/$1: see deploy/compose/README.md" >&2; exit 1; }
  echo "$(<"/run/secrets/$1")"
}

export KC_BOOTSTRAP_ADMIN_USERNAME=admin
KC_BOOTSTRAP_ADMIN_PASSWORD=$(secret bootstrap-admin)
DEMO_ADMIN_PASSWORD=$(secret demo-admin)
DEMO_ALICE_PASSWORD=$(secret demo-alice)
TRADEPOST_SERVICE_SECRET=$(secret service-client)
MICROSERVICES_CLIENT_SECRET=$(secret microservices-client)
export KC_BOOTSTRAP_ADMIN_PASSWORD DEMO_ADMIN_PASSWORD DEMO_ALICE_PASSWORD TRADEPOST_SERVICE_SECRET MICROSERVICES_CLIENT_SECRET
exec /opt/keycloak/bin/kc.sh "$@"
