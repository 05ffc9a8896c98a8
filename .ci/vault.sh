#!/usr/bin/env bash
# Secrets from a real HashiCorp Vault, started here and stopped at the end: the layer, logins, renewal, passwords of a
# real MySQL that change under load, values of its transit engine, TLS to it, and our config server on it beside Spring's.
#
# Vault is compiled from source, once per machine; .ci/run does this in the background. If that is impossible, this stage
# exits with 77 and CI continues.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! .ci/services/vault.sh install; then
  echo "!! THERE IS NO VAULT (its build is not possible here): NOTHING OF THE VAULT STAGE WAS TESTED"
  echo "!! .ci/services/vault.sh install builds it; .ci/vault.sh is this stage alone"
  exit 77
fi

source .ci/common.sh
source .ci/install.sh
need_java python3=python3

work=$(mktemp -d)
pids=()
vault() { STATE_DIR=$work/vault VAULT_PORT=${VAULT_PORT:-8200} .ci/services/vault.sh "$@"; }
# a second one, which accepts only TLS
tls_port=${VAULT_TLS_PORT:-$((${VAULT_PORT:-8200} + 10))}
vault_tls() { STATE_DIR=$work/vault-tls VAULT_PORT=$tls_port TLS=$work/vault-tls .ci/services/vault.sh "$@"; }
# this tests password changes, not power loss: the server needs no fsync
mysql() { STATE_DIR=$work/mysql MYSQL_PORT=${PORT:-13320} FLUSH=2 bash .ci/services/mysql8.sh "$@"; }
clean_up() {
  local code=$?
  ((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
  wait
  mysql stop || true
  vault_tls stop || true
  vault stop || true
  if ((code != 0)); then tail -n 20 "$work"/*.log >&2 || true; fi
  rm -rf "$work"
}
trap clean_up EXIT

vault start
vault_tls start
mysql start
export TRADEPOST_TEST_VAULT=http://127.0.0.1:${VAULT_PORT:-8200} TRADEPOST_TEST_VAULT_TOKEN=root
TRADEPOST_TEST_VAULT_UNSEAL=$(<"$work/vault/unseal")
export TRADEPOST_TEST_VAULT_TLS=https://127.0.0.1:$tls_port TRADEPOST_TEST_VAULT_CA=$work/vault-tls/vault-ca.pem
export TRADEPOST_TEST_VAULT_UNSEAL TRADEPOST_TEST_VAULT_MYSQL=mysql://root@127.0.0.1:${PORT:-13320}

FEATURES=${FEATURES:-mysql,vault}
shop_tests vault:: -- --ignored --nocapture --skip vault::sealed --test-threads 4
# on its own: it seals the shared Vault
shop_tests vault::sealed -- --ignored --nocapture

echo "-- our config server and Spring's on the same Vault"
here=tests/interop/config
again mvn --quiet --batch-mode --file "$here/server/pom.xml" package || { echo "$here/server does not build" >&2; exit 1; }
keep() { curl -fsS -o "$work/kept" -H 'X-Vault-Token: root' -d "{\"data\": $2}" "$TRADEPOST_TEST_VAULT/v1/secret/data/$1"; }
keep application '{"shop.currency": "EUR", "shop.motd": "for ${shop.currency}"}'
keep application,prod '{"shop.currency": "USD"}'
keep basket '{"limit": "5"}'
keep basket,prod '{"limit": 7, "ratio": 1.5, "enabled": true, "none": null, "list": [1, "two", {"x": 3}], "deep": {"er": {"key": "v"}},
  "dotted.key": "w", "empty": "", "nothing": [], "large": 4611686018427387904, "uni": "ü€\"\\", "url": "mysql://u:p@h/d"}'
keep team/basket '{"a": "b"}'
keep blank '{}'
read -r spring ours < <(free_ports 2)
java -Xmx192m -XX:TieredStopAtLevel=1 -jar "$here/server/target/config-server.jar" --server.address=127.0.0.1 "--server.port=$spring" \
  --spring.security.user.name=tradepost --spring.security.user.password=not-a-secret --spring.profiles.active=vault \
  --spring.cloud.config.server.vault.host=127.0.0.1 "--spring.cloud.config.server.vault.port=${VAULT_PORT:-8200}" \
  --spring.cloud.config.server.vault.scheme=http --spring.cloud.config.server.vault.kvVersion=2 >"$work/spring.log" 2>&1 &
pids+=($!)
env TRADEPOST__VAULT__URL="$TRADEPOST_TEST_VAULT" TRADEPOST__VAULT__TOKEN=root TRADEPOST__CONFIG_SERVER__VAULT=secret \
  TRADEPOST__IDENTITY__ISSUER=http://127.0.0.1:9/realms/none TRADEPOST__CONFIG_SERVER__PASSWORD=not-a-secret \
  target/debug/tradepost serve --modules config-server --port "$ours" --data "$work/ours" >"$work/ours.log" 2>&1 &
pids+=($!)
for port in "$spring" "$ours"; do until_true 120 "port $port answers" curl -s -o "$work/kept" "http://127.0.0.1:$port/"; done
python3 "$here/compare.py" "http://127.0.0.1:$spring" "http://127.0.0.1:$ours" vault
tested "secrets, logins, renewal, rotation, transit and TLS of a real Vault; the config server beside Spring's on it"
