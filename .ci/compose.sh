#!/usr/bin/env bash
# docker-compose.yml on a real Docker engine: `up` with all services, orders through the gateway with tokens of
# Keycloak, one service replaced under load, a trace across containers, Prometheus's targets; then the whole shop in
# one container. Checks that nothing is left behind, and that no secret was visible.
#
# No image can be pulled here. .ci/compose/override.yml replaces the images of other projects; Grafana is not tested.
# usage: compose.sh   with the images of the Dockerfile in the engine (.ci/images.sh); SAMPLES=yes: with images made of the
#        binary that cargo builds here, on Debian
# environment: DOCKER_STATE, DOCKER_NETNS: STATE_DIR and namespace of the engine (.ci/services/docker.sh); one that
#        runs goes on running. CACHE_DIR. COMPOSE='docker compose': the second Compose, where it is there; by default
#        the first, which Debian has. WITHOUT_VAULT=yes: as on a machine that has none
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source .ci/common.sh
source .ci/install.sh
need java=default-jdk-headless mvn=maven ss=iproute2 curl=curl python3=python3 socat=socat mysql=default-mysql-client \
  prometheus=prometheus prometheus-alertmanager=prometheus-alertmanager

work=$(mktemp -d)
cache=${CACHE_DIR:-$HOME/.cache/tradepost-ci}
export DOCKER_NETNS=${DOCKER_NETNS:-tradepost-ci}
engine_state=${DOCKER_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/tradepost-ci/docker}
export DOCKER_HOST=unix://$engine_state/docker.sock
engine() { STATE_DIR=$engine_state .ci/services/docker.sh "$@"; }
inside() { nsenter "--net=/run/netns/$DOCKER_NETNS" "$@"; }
# mount a copy, so that no secret is written into the project
project=$work/project
compose() { ${COMPOSE:-docker-compose} --project-directory "$project" --env-file "$project/.env" -f "$project/docker-compose.yml" -f "$project/override.yml" "$@"; }
secret() { cat "$project/deploy/compose/secrets/passwords/$1"; }

commit=$(git rev-parse HEAD)
version=$(sed -n 's/^    image: tradepost\/order://p' docker-compose.yml | sort -u)
servers=() pids=() client= watcher= ours= without_vault=
clean_up() {
  local code=$? name
  trap - EXIT
  if ((code)); then
    compose ps || true
    compose logs --tail 15 --no-color 2>&1 | grep -v '^Attaching' | cut -c1-600 >&2 || true
  fi
  compose --profile all-in-one down --volumes --remove-orphans --timeout 5 >/dev/null 2>&1 || true
  for name in "${servers[@]}"; do STATE_DIR=$work/$name bash ".ci/services/$name.sh" stop || true; done
  [[ -z $client ]] || kill "$client" 2>/dev/null || true
  [[ -z $watcher ]] || kill "$watcher" 2>/dev/null || true
  ((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
  if [[ -n $ours ]]; then engine stop || true; fi
  rm -rf "$work"
  exit "$code"
}
trap clean_up EXIT
trap 'exit 143' INT TERM

# server NAME FROM TO KEY=VALUE...: starts one of .ci/services beside the containers, which reach its port FROM at port TO
server() {
  local name=$1 from=$2 to=$3
  servers+=("$name")
  inside env STATE_DIR="$work/$name" "${@:4}" bash ".ci/services/$name.sh" start
  # not by `inside`: $! must be the process itself
  nsenter "--net=/run/netns/$DOCKER_NETNS" socat "TCP-LISTEN:$to,fork,reuseaddr" "TCP:127.0.0.1:$from" &
  pids+=($!)
}

images() {
  local image module
  docker image inspect tradepost-ci/base:1 >/dev/null 2>&1 || base
  for image in $(sed -n 's/^    image: \(debian:.*\)$/\1/p' docker-compose.yml); do
    docker image inspect "$image" >/dev/null 2>&1 || engine import-base "$image" ca-certificates,socat >/dev/null
  done
  local modules=(gateway product inventory order notification registry config-server all-in-one)
  for module in "${modules[@]}"; do
    if [[ ${SAMPLES:-} != yes ]] && [[ $(docker image inspect --format '{{index .Config.Labels "org.opencontainers.image.revision"}}' "tradepost/$module:$version" 2>/dev/null) == "$commit" ]]; then continue; fi
    [[ ${SAMPLES:-} == yes ]] || fail "there is no image tradepost/$module:$version of $commit; .ci/images.sh builds it; SAMPLES=yes needs none"
    sample "${modules[@]}"
    return
  done
}

base() {
  engine import-base tradepost-ci/debian:1 ca-certificates,socat >/dev/null
  mkdir -p "$work/base"
  cat >"$work/base/Dockerfile" <<'D'
FROM tradepost-ci/debian:1
# as in the replaced images: a new volume takes the owner of its mount point
RUN mkdir -p /vault/file /opt/keycloak/data /prometheus /alertmanager /data && chown 100:1000 /vault/file && \
    chown 1000:0 /opt/keycloak/data && chown 65534:65534 /prometheus /alertmanager && chown 65532:65532 /data
D
  DOCKER_BUILDKIT=0 docker build -q -t tradepost-ci/base:1 "$work/base" 2>/dev/null
}

sample() {
  local module
  mkdir -p "$work/sample"
  cp "$binary" "$work/sample/tradepost"
  cat >"$work/sample/Dockerfile" <<'D'
FROM tradepost-ci/base:1
COPY tradepost /tradepost
ENV TRADEPOST__SERVER__HOST=0.0.0.0 TRADEPOST__DATA__DIR=/data/shop TRADEPOST__LOG__FORMAT=json
USER 65532:65532
VOLUME /data
ENTRYPOINT ["/tradepost"]
D
  DOCKER_BUILDKIT=0 docker build -q -t tradepost-ci/sample "$work/sample" 2>/dev/null
  for module; do docker tag tradepost-ci/sample "tradepost/$module:$version"; done
}

# up ARGUMENTS...: starts the services; prints when each became healthy, in seconds after the start
up() {
  local since=$SECONDS
  watch_health "$since" &
  watcher=$!
  compose "$@" >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; fail "$* failed"; }
  wait_until 300 all_well
  sleep 1.5 # one more poll
  kill "$watcher"
  wait "$watcher" 2>/dev/null || true
  watcher=
  echo "all healthy after $((SECONDS - since)) s"
}

watch_health() {
  local -A seen
  local name state
  while sleep 1; do
    while read -r name state; do
      if [[ $state == *"(healthy)"* && -z ${seen[$name]:-} ]]; then
        seen[$name]=1
        echo "  $(($SECONDS - $1)) s: $name"
      fi
    done < <(docker ps --filter label=com.docker.compose.project=tradepost --format '{{.Label "com.docker.compose.service"}} {{.Status}}')
  done
}

running() { docker ps --filter label=com.docker.compose.project=tradepost --format '{{.Status}}'; }
all_well() {
  local all
  all=$(running) && [[ -n $all && ! $all =~ starting|unhealthy|Restarting ]]
}
wait_until() {
  local left=$1
  shift
  until "$@" >/dev/null 2>&1; do
    ((left-- > 0)) || { "$@" || true; fail "timed out waiting for: $*"; }
    sleep 1
  done
}

# no secret is visible to users of the engine or in logs. Collected before the containers are removed
no_secret_is_seen() {
  local id file folder=$project/deploy/compose/secrets
  # one line each; some files have no line end
  for file in "$folder"/passwords/* "$folder"/*/vault-secret-id; do
    if [[ -s $file ]]; then echo "$(<"$file")"; fi
  done >"$work/secrets"
  if [[ -s $folder/vault/init ]]; then sed -n 's/^Unseal Key 1: //p; s/^Initial Root Token: //p' "$folder/vault/init" >>"$work/secrets"; fi
  grep -qFf "$work/secrets" <<<"mysql://root:$(secret mysql-root)@mysql" || fail "the search does not find a known secret"
  : >"$work/seen"
  for id in $(docker ps -aq); do
    docker inspect "$id" >>"$work/seen"
    docker logs "$id" >>"$work/seen" 2>&1
  done
  compose config >>"$work/seen"
  grep -q order-service "$work/seen" || fail "there are no logs to search"
  if grep -nFf "$work/secrets" "$work/seen" | cut -c1-300 >&2; then fail "a secret is visible"; fi
  echo "none of $(wc -l <"$work/secrets") secrets is in $(wc -l <"$work/seen") lines of inspect, logs and configuration"
}

nothing_is_left() {
  local label=label=com.docker.compose.project=tradepost left
  left=$(docker ps -aq --filter "$label"; docker volume ls -q --filter "$label"; docker network ls -q --filter "$label")
  [[ -z $left ]] || fail "left behind: $left"
  echo "no container, volume or network is left"
}

# The file without Vault: the secrets that modules would read from Vault are in files instead.
stores_from_files() {
  local folder=$project/deploy/compose/secrets module of='(product|inventory|order|notification)' file=/run/secrets/store
  sed -i -E "s/vault-setup: \*done, //; s/<<: \[\*settings, \*vault\]/<<: *settings/
    s#(__MODULES: $of)(,| \})#\1, TRADEPOST__\U\2\E__STORE_FILE: $file\3#
    s#^( +)(TRADEPOST__SERVER__MODULES: $of)\$#\1\2\n\1TRADEPOST__\U\3\E__STORE_FILE: $file#" "$project/docker-compose.yml"
  for module in product inventory order notification; do
    install -m 400 -o 65532 -g 65532 "$folder/vault/$module-service" "$folder/$module/store"
    install -m 400 -o 65532 -g 65532 "$folder/vault/$module-migrate" "$folder/$module-migrate/store"
  done
  export STORE_FROM='the file /run/secrets/store (TRADEPOST__ORDER__STORE_FILE)'
}

binary=${TRADEPOST_BINARY:-}
if [[ -z $binary ]]; then
  cargo build --quiet --locked --features "${FEATURES:-production}"
  binary=target/debug/tradepost
fi
binary=$(realpath "$binary")

echo "-- the file"
mkdir -p "$project/deploy"
cp docker-compose.yml .env "$project"
cp .ci/compose/override.yml "$project/override.yml"
cp -r deploy/{compose,prometheus,alertmanager,grafana,keycloak} "$project/deploy"
rm -rf "$project/deploy/compose/secrets" # a developer's secrets
docker-compose --project-directory . -f docker-compose.yml config >"$work/config.yml"
"$(python_tool check-jsonschema 0.39.0)/check-jsonschema" --schemafile .ci/compose/policy.yml "$work/config.yml"
export JAVA VAULT=$cache/vault-v1.21.4 KEYCLOAK=$work/keycloak ZIPKIN=$cache/zipkin-server-3.6.1-exec.jar
JAVA=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")

if ! engine status >/dev/null; then
  ours=yes
  engine start isolated
fi
images

echo "-- servers without an image"
STATE_DIR=$work/none .ci/services/zipkin.sh install
STATE_DIR=$work/none .ci/services/keycloak.sh install
cp -r "$cache"/keycloak-[0-9]* "$KEYCLOAK"
chown -R 1000:0 "$KEYCLOAK"
if [[ -n ${WITHOUT_VAULT:-} ]] || ! .ci/services/vault.sh ready; then
  echo "!! THERE IS NO VAULT HERE: the URLs of the stores come from files instead, and vault.sh is not tested"
  VAULT=/bin/true without_vault=yes
fi
# mongo-java-server has no users; existing files are kept
mkdir -p "$project/deploy/compose/secrets/vault"
for name in product-service product-migrate; do echo mongodb://mongodb:27017/products >"$project/deploy/compose/secrets/vault/$name"; done
compose run -T --rm secrets </dev/null >"$work/made" 2>&1 || { cat "$work/made"; fail "no secrets were generated"; }
if [[ -n $without_vault ]]; then stores_from_files; fi
server mysql8 13306 23306 MYSQL_PORT=13306 FLUSH=2
inside mysql --protocol=tcp --port=13306 --user=root <"$project/deploy/compose/secrets/mysql/init/users.sql"
server mongojava 27217 27017 MONGO_PORT=27217
server kafka 19092 29092 KAFKA_PORT=19092 KAFKA_ADVERTISED=kafka:9092

echo "-- docker-compose up"
find "$project/deploy/compose/secrets" -type f ! -name '*init*' -exec sha256sum {} + | sort >"$work/before"
up up -d ${without_vault:+--scale vault=0 --scale vault-setup=0}
sha256sum --quiet -c "$work/before" || fail "a secret was changed"

shop=http://127.0.0.1:5294
export TRADEPOST_PASSWORD
TRADEPOST_PASSWORD=$(secret admin)
echo "-- orders, with tokens of Keycloak"
inside "$binary" import demo/online-retail.csv --url $shop --user admin
head -n "${LINES_PLAYED:-1200}" demo/online-retail.csv >"$work/invoices.csv"
inside "$binary" replay "$work/invoices.csv" --clients 4 --url $shop --user admin

echo "-- order is replaced under load"
ALICE=$(secret alice) ADMIN=$(secret admin) nsenter "--net=/run/netns/$DOCKER_NETNS" python3 .ci/compose/orders.py $shop "$work/replaced" >"$work/orders" 2>&1 &
client=$!
wait_until 180 grep -q '^under way' "$work/orders"
before=$(compose ps -q order)
since=$SECONDS
compose up -d --no-deps --force-recreate order >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; fail "order was not replaced"; }
wait_until 180 all_well
[[ $(compose ps -q order) != "$before" ]] || fail "it is the same container"
echo "replaced and healthy within $((SECONDS - since)) s"
touch "$work/replaced"
wait "$client" || { client=; cat "$work/orders"; fail "orders were lost"; }
client=
cat "$work/orders"

echo "-- a trace, metrics and the sources of settings"
address() { docker inspect "$(compose ps -q "$1")" --format '{{(index .NetworkSettings.Networks "tradepost_back").IPAddress}}'; }
inside env ALICE="$(secret alice)" ADMIN="$(secret admin)" ORDER="http://$(address order):5294" python3 .ci/compose/look.py $shop

echo "-- a second order, and a restarted Vault"
orders_known() { [[ $(inside curl -fs "http://$(address registry):8761/eureka/apps/ORDER-SERVICE" | grep -o '<instanceId>' | wc -l) == "$1" ]]; }
compose up -d --no-deps --scale order=2 --no-recreate order >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; fail "there is no second order"; }
wait_until 180 orders_known 2
compose up -d --no-deps --scale order=1 --no-recreate order >"$work/up.log" 2>&1
wait_until 180 orders_known 1
echo "the second instance was registered and unregistered"
if [[ -z $without_vault ]]; then
  open_vault() { compose exec -T vault vault status -address=http://127.0.0.1:8200; }
  compose restart vault >"$work/up.log" 2>&1
  if open_vault >/dev/null 2>&1; then fail "a restarted Vault is not sealed"; fi
  compose up -d vault-setup >"$work/up.log" 2>&1
  wait_until 180 open_vault
  echo "vault-setup unsealed it"
fi

echo "-- grants and audit of the stores"
sum() { inside mysql --protocol=tcp --port=13306 --user=root -N -e "$1"; }
may=$(sum "SHOW GRANTS FOR 'order'@'%'")
[[ $may == *'GRANT SELECT, INSERT, UPDATE, DELETE ON `orders`.*'* && $may != *ALL* ]] || fail "order's user may: $may"
settled() { [[ $(sum "SELECT (SELECT COUNT(*) FROM orders.orders WHERE status = 'PENDING') + (SELECT COUNT(*) FROM orders.outbox)") == 0 ]]; }
wait_until 180 settled # until recovery has completed interrupted orders
audit=(--env TRADEPOST__BUS__URL=kafka://kafka:9092 --env TRADEPOST__PRODUCT__STORE=mongodb://mongodb:27017/products)
for module in inventory order notification; do
  audit+=(--env "TRADEPOST__${module^^}__STORE=mysql://root@mysql:3306/${module/%order/orders}")
done
docker run --rm --network tradepost_back --volume "$binary:/tradepost:ro" "${audit[@]}" tradepost-ci/base:1 /tradepost audit | tee "$work/audit"
# the audit read the data of this run
grep -Eq '^[1-9][0-9]{2,} products' "$work/audit" && grep -Eq '^[1-9][0-9]+ orders' "$work/audit" || fail "the audit read other data"

no_secret_is_seen
compose down --volumes --timeout 45 >"$work/down.log" 2>&1 || { cat "$work/down.log" >&2; fail "down failed"; }
nothing_is_left

echo "-- docker-compose --profile all-in-one up"
unset TRADEPOST_PASSWORD
up --profile all-in-one up -d
[[ $(docker ps -q | wc -l) == 1 ]] || fail "there is more than one container"
order() { inside curl -fsS -H "Authorization: Bearer $(inside "$binary" token --user alice --url $shop)" "$@"; }
placed=$(order $shop/api/v1/orders -H 'Content-Type: application/json' -H 'Idempotency-Key: compose' -d '{"orderLineItems":[{"skuCode":"85123A","quantity":1}]}')
number=$(sed -n 's/.*"orderNumber":"\([^"]*\)".*/\1/p' <<<"$placed")
[[ -n $number ]] || fail "no order was placed: $placed"
compose --profile all-in-one restart shop >/dev/null 2>&1
wait_until 180 all_well
[[ $(order $shop/api/v1/orders) == *"$number"* ]] || fail "the order $number is lost after a restart"
compose --profile all-in-one up -d --force-recreate shop >/dev/null 2>&1
wait_until 180 all_well
[[ $(order $shop/api/v1/orders) == *"$number"* ]] || fail "the order $number was lost with its container"
echo "order $number exists after a restart, and in another container"
compose --profile all-in-one down --volumes >"$work/down.log" 2>&1
nothing_is_left
tested "docker-compose up, orders, a service replaced under load, a trace, metrics, secrets, all in one"
