#!/usr/bin/env bash
# Backup and restore of a shop on MySQL 8 and on MariaDB with a real Kafka, by the servers' own tools, as docs/operate.md
# describes: a dump under load, loss of all data, restore into an empty server, reset of the consumer groups to before the
# dump, and a clean audit. `cargo test` (chaos::backup) tests the embedded stores.
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
# the server shuts down cleanly, so its writes need no fsync
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
  kill -0 "$shop" 2>/dev/null || fail "the shop exited"
  grep -q "^Order one" "$work/$store.shop/screen"
}

# Sends an administrator's request; prints the response.
post() {
  curl -fsS "$url/api/v1/$1" -H "Authorization: Bearer $("$bin" token --url "$url")" -H 'Content-Type: application/json' \
    -H "Idempotency-Key: ${3:-none}" -d "$2"
}

# Places an order of one unit with this key; prints the order's number.
order() { post orders '{"orderLineItems":[{"skuCode":"kept","quantity":1}]}' "$1" | sed 's/.*"orderNumber":"\([^"]*\)".*/\1/'; }

# Places orders, each with its own key, until it is killed.
orders() {
  local n token
  for ((n = 0; ; n++)); do
    # before it ends
    if ((n % 100 == 0)); then token=$("$bin" token --url "$url"); fi
    # requests without a response are ignored
    curl -fs -o /dev/null "$url/api/v1/orders" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
      -H "Idempotency-Key: load-$1-$n" -d '{"orderLineItems":[{"skuCode":"load","quantity":1}]}' || true
  done
}

start_shop() {
  : >"$work/$store.shop/screen" # otherwise the output of the last start would be read
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
  # separate topics and groups for each server
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

  echo "-- $store: all data is lost and restored"
  lose_everything
  client <"$folder/dump.sql"
  "$bin" restore "$folder/files"
  echo "$before orders placed before the dump, $meanwhile before the loss, $(placed) restored"
  placed_at_least "$before" || fail "orders placed before the dump are missing"
  (($(placed) < meanwhile)) || fail "no order was placed after the dump: the test proves nothing"
  # the group's members expire 6 s after their last heartbeat
  rewind() { java -cp "$jars/*" "$root/.ci/services/Rewind.java" "127.0.0.1:$KAFKA_PORT" "$store.notification" $((begun - 10000)) "$store.order" 2>"$work/rewind"; }
  until_true 180 "the group is sent back" rewind
  start_shop
  until_true 180 "the audit is clean" settled
  cat "$work/audit"

  echo "-- $store: a repeated key from before the dump returns the same order, a lost one places a new order"
  [[ $(order kept) == "$kept" ]] || fail "the key of order $kept was lost"
  [[ $(client -N -e "SELECT COUNT(*) FROM orders.orders WHERE order_number = '$lost'") == 0 ]] || fail "order $lost was placed after the dump but exists"
  [[ $(order lost) =~ ^[0-9a-f-]{36}$ ]] || fail "a lost order cannot be placed again"
  until_true 180 "the audit is clean" settled
  cat "$work/audit"
  kill -TERM "$shop"
  wait "$shop"
  shop=
  cd "$root"
  server stop
}

cargo build --locked --features "${FEATURES:-mysql,kafka}"
# other builds in the same folder replace the binary
cp "$bin" "$work/tradepost"
bin=$work/tradepost
kafka start
for store in ${STORES:-mysql8 mariadb}; do one_store; done
store=
tested "dump under load, loss, restore and audit with Kafka, on ${STORES:-mysql8 mariadb}"
