#!/usr/bin/env bash
# Backup and restore of a shop on MySQL 8 and on MariaDB with a real Kafka, by the servers' own tools, as docs/operate.md
# says: a dump under load, everything lost, the dump put into an empty server, the readers of the bus sent back to before it,
# and the audit is clean. What the embedded stores do is in `cargo test` (chaos::backup).
# usage: backup.sh    env: FEATURES (mysql,kafka) STORES ("mysql8 mariadb") MYSQL_PORT (13308) KAFKA_PORT (9292)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh

source .ci/install.sh
need_java mysqldump=mariadb-client
work=$(mktemp -d)
chmod 755 "$work" # MariaDB's server drops root's rights
shop= store= load=
export MYSQL_PORT=${MYSQL_PORT:-13308} KAFKA_PORT=${KAFKA_PORT:-9292}
# the server is stopped in order here, the shop is not: what a server has written the system still has
export FLUSH=2
root=$PWD bin=$PWD/target/debug/tradepost jars=${CACHE_DIR:-$HOME/.cache/tradepost-ci}/kafka-4.4.0

kafka() { STATE_DIR=$work/kafka "$root"/.ci/services/kafka.sh "$1"; }
server() { STATE_DIR=$work/$store bash "$root/.ci/services/$store.sh" "$1"; }

clean_up() {
  local code=$?
  for process in $shop $load; do kill -KILL "$process" 2>/dev/null || true; done
  if [[ -n $store ]]; then server stop || true; fi
  kafka stop || true
  ((code == 0)) || tail -n 20 "$work"/*/log "$work/rewind" "$work/audit" 2>/dev/null || true
  rm -rf "$work"
  exit "$code"
}
trap clean_up EXIT

client() { mysql --no-defaults --protocol=tcp -h 127.0.0.1 -P "$MYSQL_PORT" -u root "$@"; }
placed() { client -N -e "SELECT COUNT(*) FROM orders.orders WHERE status = 'PLACED'"; }
placed_at_least() { (($(placed) >= $1)); }
settled() { (cd "$work/$store.shop" && "$bin" audit) >"$work/audit" 2>&1 && grep -q " 0 under way" "$work/audit"; }
greeted() {
  kill -0 "$shop" 2>/dev/null || fail "the shop has ended"
  grep -q "^Order one" "$work/$store.shop/screen"
}

# An administrator's request; the answer.
post() {
  curl -fsS "$url/api/v1/$1" -H "Authorization: Bearer $("$bin" token --url "$url")" -H 'Content-Type: application/json' \
    -H "Idempotency-Key: ${3:-none}" -d "$2"
}

# Orders a piece with this key; the order's number.
order() { post orders '{"orderLineItems":[{"skuCode":"kept","quantity":1}]}' "$1" | sed 's/.*"orderNumber":"\([^"]*\)".*/\1/'; }

# Orders, each with a key of its own, until it is killed.
orders() {
  local n token
  for ((n = 0; ; n++)); do
    # before it ends
    if ((n % 100 == 0)); then token=$("$bin" token --url "$url"); fi
    # what is not answered is nobody's concern here
    curl -fs -o /dev/null "$url/api/v1/orders" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
      -H "Idempotency-Key: load-$1-$n" -d '{"orderLineItems":[{"skuCode":"load","quantity":1}]}' || true
  done
}

start_shop() {
  : >"$work/$store.shop/screen" # or that of the last start would be read
  (cd "$work/$store.shop" && exec "$bin") >"$work/$store.shop/screen" 2>>"$work/$store.shop/log" &
  shop=$!
  until_true 180 "the shop is there" greeted
  url=$(sed -n 's/^ready on //p' "$work/$store.shop/screen")
}

lose_everything() {
  kill -KILL "$shop"
  wait "$shop" 2>/dev/null || true
  shop=
  local process
  for process in $load; do
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  load=
  client -e "DROP DATABASE inventory; DROP DATABASE orders; DROP DATABASE notification"
  rm -r "$work/$store.shop/data"
}

one_store() {
  local folder=$work/$store.shop before begun meanwhile kept lost client
  mkdir "$folder"
  cd "$folder"
  server start
  client -e "CREATE DATABASE inventory; CREATE DATABASE orders; CREATE DATABASE notification"
  export TRADEPOST__SERVER__PORT=0 TRADEPOST__LOG__LEVEL=warn TRADEPOST__ORDER__LEASE_SECONDS=2
  patient
  export TRADEPOST__INVENTORY__STORE=mysql://root@127.0.0.1:$MYSQL_PORT/inventory
  export TRADEPOST__ORDER__STORE=mysql://root@127.0.0.1:$MYSQL_PORT/orders
  export TRADEPOST__NOTIFICATION__STORE=mysql://root@127.0.0.1:$MYSQL_PORT/notification
  # topics and groups of its own for each server
  export TRADEPOST__BUS__URL=kafka://127.0.0.1:$KAFKA_PORT TRADEPOST__BUS__PREFIX=$store.
  "$bin" migrate
  start_shop
  post products '{"skuCode":"kept","name":"Kept","price":1}' >"$folder/made"
  post inventory '{"skuCode":"kept","quantity":9}' >"$folder/made"
  post products '{"skuCode":"load","name":"Load","price":1}' >"$folder/made"
  post inventory '{"skuCode":"load","quantity":1000000}' >"$folder/made"
  for client in 1 2 3 4; do
    orders "$client" &
    load+=" $!"
  done
  until_true 180 "orders come in" placed_at_least 40

  echo "-- $store: dumped under load"
  kept=$(order kept)
  begun=$(date +%s%3N) before=$(placed)
  mysqldump --no-defaults --protocol=tcp -h 127.0.0.1 -P "$MYSQL_PORT" -u root \
    --single-transaction --skip-lock-tables --databases inventory orders notification >"$folder/dump.sql"
  "$bin" backup "$folder/files" --modules product,identity
  until_true 180 "orders come in after the dump" placed_at_least $((before + 40))
  lost=$(order lost)
  meanwhile=$(placed)

  echo "-- $store: all is lost, and restored"
  lose_everything
  client <"$folder/dump.sql"
  "$bin" restore "$folder/files"
  echo "$before orders placed before the dump, $meanwhile when all was lost, $(placed) restored"
  placed_at_least "$before" || fail "orders that were placed before the dump are not in it"
  (($(placed) < meanwhile)) || fail "nothing was placed after the dump: nothing was tested"
  # the group's members are gone for good 6 s after their last word
  rewind() { java -cp "$jars/*" "$root/.ci/services/Rewind.java" "127.0.0.1:$KAFKA_PORT" "$store.notification" $((begun - 10000)) "$store.order" 2>"$work/rewind"; }
  until_true 180 "the group is sent back" rewind
  start_shop
  until_true 180 "the audit is clean" settled
  cat "$work/audit"

  echo "-- $store: an order with a key from before is the same, one that was lost is placed"
  [[ $(order kept) == "$kept" ]] || fail "the key of order $kept is not known any more"
  [[ $(client -N -e "SELECT COUNT(*) FROM orders.orders WHERE order_number = '$lost'") == 0 ]] || fail "order $lost came after the dump"
  [[ $(order lost) =~ ^[0-9a-f-]{36}$ ]] || fail "an order that was lost cannot be placed again"
  until_true 180 "the audit is clean" settled
  cat "$work/audit"
  kill -TERM "$shop"
  wait "$shop"
  shop=
  cd "$root"
  server stop
}

cargo build --locked --features "${FEATURES:-mysql,kafka}"
# other builds in the same folder put theirs in its place
cp "$bin" "$work/tradepost"
bin=$work/tradepost
kafka start
for store in ${STORES:-mysql8 mariadb}; do one_store; done
store=
tested "dump under load, loss, restore and audit with Kafka, on ${STORES:-mysql8 mariadb}"
