#!/usr/bin/env bash
# Migration of data to a real MariaDB: the Spring system's orders and stock with docs/data/spring-to-tradepost.sql, and
# the files of an embedded shop with docs/data/sqlite-to-mysql.py. After each the audit must be clean, and the shop must
# accept orders on the migrated data.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh

work=$(mktemp -d)
chmod 755 "$work" # MariaDB's server drops root's rights
service=.ci/services/mariadb.sh
export STATE_DIR=$work/mariadb MYSQL_PORT=${PORT:-13316} FLUSH=2
patient
shop=

clean_up() {
  local code=$?
  if [[ -n $shop ]] && kill -0 "$shop" 2>/dev/null; then kill -KILL "$shop" || true; fi
  bash "$service" stop || true
  if ((code)); then tail -n 20 "$work"/*.log >&2 || true; fi
  rm -rf "$work"
  exit "$code"
}
trap clean_up EXIT

source .ci/install.sh
need python3=python3 curl=curl
cargo build --locked --features "${FEATURES:-mysql}"
bin=${CARGO_TARGET_DIR:-$PWD/target}/debug/tradepost
bash "$service" start
sql() { mariadb --no-defaults --host=127.0.0.1 --port="$MYSQL_PORT" --user=root --batch "$@"; }
url=mysql://root@127.0.0.1:$MYSQL_PORT
on_server() {
  export TRADEPOST__INVENTORY__STORE=$url/inventory TRADEPOST__ORDER__STORE=$url/orders TRADEPOST__NOTIFICATION__STORE=$url/notification
}
fresh() {
  sql -e 'DROP DATABASE IF EXISTS inventory; DROP DATABASE IF EXISTS orders; DROP DATABASE IF EXISTS notification;
          CREATE DATABASE inventory; CREATE DATABASE orders; CREATE DATABASE notification'
  on_server
  "$bin" migrate --data "$1" >"$work/migrate.log" 2>&1
}
start() { # FOLDER WORDS: starts a shop on it, at $base; waits until it prints these words
  rm -f "$work/screen.log"
  TRADEPOST__SERVER__PORT=0 "$bin" --data "$1" >"$work/screen.log" 2>"$work/shop.log" &
  shop=$!
  until_true 60 "the shop says $2" said "$2"
  base=$(sed -n 's/^ready on //p' "$work/screen.log")
}
said() {
  kill -0 "$shop" || fail "the shop did not start"
  grep -q "^$1" "$work/screen.log" 2>/dev/null
}
stop() {
  kill -TERM "$shop"
  wait "$shop" || fail "the shop exited with $?"
  shop=
}
ask() { curl -fsS -H "Authorization: Bearer $token" -H 'Content-Type: application/json' "$@"; }
expect() { # TEXT WANTED
  grep -qF "$2" <<<"$1" || fail "expected $2 in: $1"
}

echo "-- the Spring system's tables, with invalid rows that its services allow"
sql <<'SQL'
CREATE DATABASE order_service; CREATE DATABASE inventory_service;
CREATE TABLE order_service.t_orders (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, order_number VARCHAR(255));
CREATE TABLE order_service.t_order_line_items (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, price DECIMAL(38,2), quantity INTEGER, sku_code VARCHAR(255), order_id BIGINT);
CREATE TABLE inventory_service.t_inventory (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, quantity INTEGER, sku_code VARCHAR(255));
INSERT INTO order_service.t_orders VALUES
  (1, '0a52e0d1-52c3-4f2e-8f3e-0a52e0d152c3'), (2, 'B3F2E0D1-52C3-4F2E-8F3E-0A52E0D152C4'), (3, 'c3f2e0d1-52c3-4f2e-8f3e-0a52e0d152c5'),
  (4, 'no-uuid'), (5, 'd3f2e0d1-52c3-4f2e-8f3e-0a52e0d152c6'), (6, 'd3f2e0d1-52c3-4f2e-8f3e-0a52e0d152c7'), (7, '0a52e0d1-52c3-4f2e-8f3e-0a52e0d152c3');
INSERT INTO order_service.t_order_line_items (price, quantity, sku_code, order_id) VALUES
  (2.50, 2, 'one', 1), (10.00, 1, 'two "quoted" ü', 1), (2.50, 3, 'one', 2), (2.50, 1, 'one ', 2), (1.10, 1, 'gone', 3), (NULL, 1, 'gone', 3), (1, 1, 'one', 4), (1, -5, 'one', 5), (1, 1, 'one', NULL), (1, 1, 'one', 7);
INSERT INTO inventory_service.t_inventory (quantity, sku_code) VALUES (10, 'one'), (4, 'one'), (7, 'two "quoted" ü'), (-3, 'short');
SQL
data=$work/spring
mkdir "$data"
fresh "$data"
sql --table <docs/data/spring-to-tradepost.sql | tee "$work/carried"
for reason in 'no UUID' 'another order has its number' 'less than one piece' 'it has no lines' 'its order is not there' 'counted as 0: -3'; do
  grep -qF "$reason" "$work/carried" || fail "the output lacks: $reason"
done
[[ $(sql -N -e "SELECT GROUP_CONCAT(CONCAT_WS(':', id, total) ORDER BY id) FROM orders.orders") == 1:15.00,2:10.00,3:1.10 ]] || fail "the copied orders differ"
stock=$(sql -N -e "SELECT GROUP_CONCAT(CONCAT_WS(':', sku_code, quantity, sold, received, removed) ORDER BY sku_code) FROM inventory.stock")
[[ $stock == 'gone:0:2:2:1,one:14:6:20:0,short:0:0:0:0,two "quoted" ü:7:1:8:0' ]] || fail "the copied stock differs: $stock"
if sql <docs/data/spring-to-tradepost.sql >/dev/null 2>&1; then fail "the data was copied twice"; fi
"$bin" audit --data "$data" | tee "$work/audit"
grep -q 'INV-1 to INV-5 hold' "$work/audit"

echo "-- the shop continues with them"
export TRADEPOST__DATA__DEMO=false
start "$data" 'ready on'
token=$("$bin" token --user admin --url "$base")
expect "$(ask "$base/api/v1/orders/2")" '"orderNumber":"b3f2e0d1-52c3-4f2e-8f3e-0a52e0d152c4"'
expect "$(ask "$base/api/v1/orders")" '"totalElements":3'
ask "$base/api/v1/products" -d '{"skuCode":"one","name":"One","price":"2.50"}' >/dev/null
expect "$(ask "$base/api/v1/orders" -d '{"orderLineItems":[{"skuCode":"one","quantity":1}]}')" '"status":"PLACED"'
# cancelling a copied order returns its stock
ask -X POST "$base/api/v1/orders/1/cancel" -d '{}' >/dev/null
given_back() { [[ $(sql -N -e "SELECT CONCAT_WS(':', quantity, held, sold, received) FROM inventory.stock WHERE sku_code = 'one'") == 15:0:5:20 ]]; }
until_true 30 "14 less one, and two back, are 15" given_back
stop
"$bin" audit --data "$data" | grep 'INV-1 to INV-5 hold'

echo "-- back to Spring: one new order, one cancelled, and the stock of each SKU"
for _ in 1 2; do
  sql <docs/data/tradepost-to-spring.sql
  orders=$(sql -N -e "SELECT GROUP_CONCAT(id ORDER BY id) FROM order_service.t_orders")
  [[ $orders == 2,3,4,5,6,7,8 ]] || fail "Spring's orders differ: $orders"
  lines=$(sql -N -e "SELECT GROUP_CONCAT(CONCAT_WS(':', sku_code, quantity, price)) FROM order_service.t_order_line_items WHERE order_id = 8")
  [[ $lines == one:1:2.50 ]] || fail "the order's lines differ: $lines"
  stock=$(sql -N -e "SELECT GROUP_CONCAT(CONCAT_WS(':', sku_code, quantity) ORDER BY sku_code) FROM inventory_service.t_inventory")
  [[ $stock == 'one:15,short:0,two "quoted" ü:8' ]] || fail "Spring's stock differs: $stock"
done
unset TRADEPOST__INVENTORY__STORE TRADEPOST__ORDER__STORE TRADEPOST__NOTIFICATION__STORE TRADEPOST__DATA__DEMO

echo "-- an embedded shop after a replay of orders"
data=$work/embedded
start "$data" 'Order one'
"$bin" replay demo/online-retail.csv --url "$base" </dev/null | tail -3
stop
before=$("$bin" audit --data "$data")
fresh "$data"
declare -A database=([inventory]=inventory [order]=orders [notification]=notification)
for module in inventory order notification; do
  docs/data/sqlite-to-mysql.py "$data/$module.db" >"$work/$module.sql"
  sql "${database[$module]}" <"$work/$module.sql"
done
if sql inventory <"$work/inventory.sql" 2>/dev/null; then fail "rows were copied twice"; fi
after=$("$bin" audit --data "$data")
echo "$after"
[[ $after == "$before" ]] || fail "the audit differs; before: $before"
# from now on all data is read from the server
rm "$data"/inventory.db "$data"/order.db "$data"/notification.db
start "$data" 'Order one'
token=$("$bin" token --user alice --url "$base")
sku=$(sed -n 's/^Order one \([^ ]*\) .*/\1/p' "$work/screen.log")
expect "$(ask "$base/api/v1/orders" -d "{\"orderLineItems\":[{\"skuCode\":\"$sku\",\"quantity\":1}]}")" '"status":"PLACED"'
stop
"$bin" audit --data "$data" | grep 'INV-1 to INV-5 hold'
tested "Spring's tables copied to a shop and back, embedded stores copied to MariaDB, an audit after each"
