#!/usr/bin/env bash
# The shop for a new user: an empty folder, the start screen, and the commands on it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh

work=$(mktemp -d)
shop=
clean_up() {
  local code=$?
  if [[ -n $shop ]] && kill -0 "$shop" 2>/dev/null; then kill -KILL "$shop" || true; fi
  if ((code)); then cat "$screen" "$work/log" >&2 || true; fi
  rm -rf "$work"
  exit "$code"
}
trap clean_up EXIT
bin=$PWD/target/debug/tradepost csv=$PWD/demo/online-retail.csv screen=$work/screen
cargo build --locked
(cd "$work" && TRADEPOST__SERVER__PORT=0 exec "$bin") >"$screen" 2>"$work/log" &
shop=$!
greeted() {
  kill -0 "$shop" 2>/dev/null || fail "the shop did not start"
  grep -q '^Order one' "$screen"
}
until_true 60 "the start screen is there" greeted
cat "$screen"
url=$(sed -n 's/^ready on //p' "$screen")

echo "-- the start screen's own commands"
sed -n '/^Get a token:/,$p' "$screen" | grep -vE '^(Get a token|Order one)' >"$work/typed"
bash -eu "$work/typed" >"$work/order" || fail "the commands of the start screen failed"
cat "$work/order" && echo
grep -q '"status":"PLACED"' "$work/order" || fail "the order was not placed"
curl -fsS "$url/swagger-ui/" >"$work/page"
grep -qi swagger "$work/page" || fail "no Swagger UI"
curl -fsS "$url/v3/api-docs" >"$work/page"
grep -q '"openapi":"3.1' "$work/page" || fail "no OpenAPI document"
"$bin" healthcheck --url "$url"

echo "-- real orders"
"$bin" replay "$csv" --url "$url" </dev/null | tee "$work/replayed"
"$bin" audit --data "$work/data"

echo "-- shutdown"
kill -TERM "$shop"
code=0
wait "$shop" || code=$?
shop=
((code == 0)) || fail "the shop exited with $code after SIGTERM"
"$bin" audit --data "$work/data"
tested "the start screen's commands, a replay of $(basename "$csv"), two audits, SIGTERM"
