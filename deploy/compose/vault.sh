#!/bin/sh
# Initialises a new Vault, and unseals a sealed one. Each module and each migration has its own role, which reads only
# the URL of its own store. Existing secrets are never changed; the policies of the roles are updated.
# environment: VAULT_ADDR; SECRETS, the folder that secrets.sh created
set -eu
umask 077
secrets=${SECRETS:?}
init=$secrets/vault/init

# exit codes of `vault operator init -status`: 0 initialised, 2 not; of `vault status`: 0 unsealed, 2 sealed
code=0
vault operator init -status >/dev/null || code=$?
case $code in
  0) ;;
  2)
    vault operator init -key-shares=1 -key-threshold=1 >"$init"
    echo "initialised"
    ;;
  *) exit "$code" ;;
esac
[ -s "$init" ] || { echo "this Vault was not initialised by this script: $init does not exist" >&2; exit 1; }
if ! vault status >/dev/null; then
  vault operator unseal "$(sed -n 's/^Unseal Key 1: //p' "$init")" >/dev/null
  echo "opened"
fi
VAULT_TOKEN=$(sed -n 's/^Initial Root Token: //p' "$init")
export VAULT_TOKEN
# the single server becomes active shortly after it was unsealed
tries=0
until vault token lookup >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ $tries -lt 60 ] || { vault token lookup >/dev/null; exit 1; }
  sleep 1
done

vault secrets list | grep -q '^secret/' || vault secrets enable -path=secret -version=2 kv >/dev/null
vault auth list | grep -q '^approle/' || vault auth enable approle >/dev/null

# application NAME SETTING FOLDER: writes its secret, its role, and its login
application() {
  name=$1 setting=$2 folder=$secrets/$3
  tries=0
  # a new engine is not ready at once
  until vault kv get "secret/$name" >/dev/null 2>&1 || put "$name" "$setting" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 30 ] || { put "$name" "$setting"; exit 1; }
    sleep 1
  done
  vault policy write "tradepost-$name" - >/dev/null <<POLICY
path "secret/data/tradepost" { capabilities = ["read"] }
path "secret/data/$name" { capabilities = ["read"] }
POLICY
  vault write "auth/approle/role/tradepost-$name" "token_policies=tradepost-$name" token_ttl=1h token_max_ttl=24h >/dev/null
  if logs_in "$folder"; then return; fi
  vault read -field=role_id "auth/approle/role/tradepost-$name/role-id" | keep "$folder/vault-role-id"
  vault write -force -field=secret_id "auth/approle/role/tradepost-$name/secret-id" | keep "$folder/vault-secret-id"
  echo "made a login for $name"
}

# the content of the file without its line end: Vault stores values unchanged
put() { tr -d '\n' <"$secrets/vault/$1" | vault kv put "secret/$1" "$2=-" >/dev/null; }

logs_in() {
  [ -s "$1/vault-role-id" ] && [ -s "$1/vault-secret-id" ] &&
    vault write auth/approle/login "role_id=@$1/vault-role-id" "secret_id=@$1/vault-secret-id" >/dev/null 2>&1
}

keep() {
  cat >"$1.new"
  chown 65532:65532 "$1.new"
  chmod 400 "$1.new"
  mv "$1.new" "$1"
}

for module in product inventory order notification; do
  application "$module-service" "$module.store" "$module"
  application "$module-migrate" "$module.store" "$module-migrate"
done
