#!/usr/bin/env bash
# Our config server beside Spring's, on the same folder and the same git repository: the same requests are compared,
# a Spring client starts with ours, and our modules start with Spring's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh

work=$(mktemp -d)
here=tests/interop/config
pids=()

clean_up() {
  local code=$?
  ((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
  wait
  if ((code != 0)); then tail -n 20 "$work"/*.log >&2 || true; fi
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 143' INT TERM

source .ci/install.sh
need_java git=git python3=python3

if [[ -z ${TRADEPOST_BINARY:-} ]]; then
  cargo build --quiet --locked --features "${FEATURES:-config-cipher}"
fi
binary=${TRADEPOST_BINARY:-$PWD/target/debug/tradepost}
for part in server client; do
  # Maven downloads hundreds of files; one failed download must not fail the build
  again mvn --quiet --batch-mode --file "$here/$part/pom.xml" package || fail "$here/$part does not build"
done
binary=$(realpath "$binary") here=$(realpath "$here")

echo "-- the files: a folder, and a repository with a branch and a tag"
cp -r "$here/repo" "$work/folder"
cp -r "$here/repo" "$work/git"
in_git() { git -C "$work/git" -c user.name=test -c user.email=test@localhost -c commit.gpgsign=false "$@"; }
in_git init --quiet -b main
in_git add -A && in_git commit --quiet -m one && in_git tag v1
in_git checkout --quiet -b team/x && echo 'basket: {limit: 50}' >"$work/git/basket.yml" && in_git commit --quiet -am two
in_git checkout --quiet main

# start NAME COMMAND...: runs it in the background, with its output in a log of that name
start() {
  local name=$1
  shift
  "$@" >"$work/$name.log" 2>&1 &
  pids+=($!)
}
# answers NAME URL: waits until the URL answers
answers() { until_true 120 "$1 answers" curl -fs -o /dev/null -u tradepost:not-a-secret "$2"; }

read -r spring_folder spring_git our_folder our_git < <(free_ports 4)
spring() {
  local name=$1 port=$2
  shift 2
  start "$name" java -Xmx192m -XX:TieredStopAtLevel=1 -jar "$here/server/target/config-server.jar" --server.address=127.0.0.1 "--server.port=$port" \
    --spring.security.user.name=tradepost --spring.security.user.password=not-a-secret --encrypt.key=not-a-secret-interop "$@"
}
ours() {
  local name=$1 port=$2
  shift 2
  start "$name" env "$@" TRADEPOST__IDENTITY__ISSUER=http://127.0.0.1:9/realms/none TRADEPOST__CONFIG_SERVER__PASSWORD=not-a-secret \
    TRADEPOST__CONFIG_SERVER__ENCRYPT_KEY=not-a-secret-interop "$binary" serve --modules config-server --port "$port" --data "$work/$name"
}
spring spring-folder "$spring_folder" --spring.profiles.active=native "--spring.cloud.config.server.native.search-locations=file:$work/folder"
spring spring-git "$spring_git" "--spring.cloud.config.server.git.uri=file://$work/git"
ours our-folder "$our_folder" "TRADEPOST__CONFIG_SERVER__FOLDER=$work/folder"
ours our-git "$our_git" "TRADEPOST__CONFIG_SERVER__GIT=file://$work/git"
for port in "$our_folder" "$our_git" "$spring_folder" "$spring_git"; do answers "port $port" "http://127.0.0.1:$port/encrypt/status"; done

echo "-- the same requests to both"
python3 "$here/compare.py" "http://127.0.0.1:$spring_folder" "http://127.0.0.1:$our_folder" folder
python3 "$here/compare.py" "http://127.0.0.1:$spring_git" "http://127.0.0.1:$our_git" git
# each server decrypts values of the other
call() { curl -fsS -u tradepost:not-a-secret -H 'content-type: text/plain' "$@"; }
crossed() {
  local sealed
  sealed=$(call -d 'a secret: ü=' "http://127.0.0.1:$1/encrypt")
  [[ $(call -d "$sealed" "http://127.0.0.1:$2/decrypt") == 'a secret: ü=' ]] || fail "port $2 cannot read what port $1 encrypted"
}
crossed "$spring_git" "$our_git"
crossed "$our_git" "$spring_git"
echo "each server decrypts values of the other"

echo "-- a Spring client starts with our server"
# client PORT ARGUMENTS...: runs the client and prints its output
client() {
  local port=$1
  shift
  java -Xmx128m -XX:TieredStopAtLevel=1 -jar "$here/client/target/config-client.jar" \
    "--spring.config.import=configserver:http://tradepost:not-a-secret@127.0.0.1:$port" "$@" 2>"$work/client.log" | tee "$work/printed"
}
printed() {
  local line
  for line in "$@"; do grep -qxF "$line" "$work/printed" || fail "the client did not print: $line"; done
}
for port in "$our_folder" "$our_git"; do
  client "$port" --spring.application.name=order-service --spring.profiles.active=prod \
    --print=tradepost.order.lease-seconds,shop.greeting,shop.currency,feature.text,shop.motd,feature.big
  printed tradepost.order.lease-seconds=33 'shop.greeting=hello from Tradepost in north' shop.currency=USD \
    'feature.text=from properties' 'shop.motd=from the second document' feature.big=12345678901234567890
  client "$port" --spring.application.name=vault --print=vault.password,vault.keyed,invalid.vault.broken
  printed vault.password=geheim vault.keyed=geheim 'invalid.vault.broken=<n/a>'
done
client "$our_git" --spring.application.name=basket --spring.cloud.config.label=team/x --print=basket.limit,config.client.version
printed basket.limit=50 "config.client.version=$(in_git rev-parse team/x)"
client "$our_git" --spring.application.name=basket --spring.cloud.config.label=v1 --print=basket.limit,basket.owner
printed basket.limit=5 basket.owner=Tradepost
client "$our_folder" --spring.application.name=basket --spring.cloud.config.label=team --print=basket.limit
printed basket.limit=6
for wrong in --spring.cloud.config.label=none "--spring.cloud.config.password=wrong"; do
  if client "$our_git" --spring.application.name=basket --print=basket.limit "$wrong" >/dev/null; then fail "the client started with $wrong"; fi
  echo "does not start with $wrong"
done

echo "-- our modules start with Spring's server, and with ours"
# boots NAME PORT: starts two modules with the settings of product-service from that server
boots() {
  local name=$1 server=$2 port url token env i
  port=$(free_ports 1) url=http://127.0.0.1:$port
  start "$name" env "TRADEPOST__CONFIG__SERVER=http://tradepost:not-a-secret@127.0.0.1:$server" TRADEPOST__CONFIG__NAME=product-service \
    TRADEPOST__CONFIG__PROFILE=prod "$binary" serve --modules identity,product,gateway --port "$port" --data "$work/$name"
  answers "$name" "$url/actuator/health"
  token=$("$binary" token --user admin --url "$url")
  env=$(curl -fsS -H "Authorization: Bearer $token" "$url/actuator/env")
  for expected in '"gateway.rate":{"origin":"config server http://127.0.0.1:'"$server"' (file' '"resilience.peers.product.call_ms":{"origin":"config server' \
    '"server.request_seconds":{"origin":"config server' '"value":["http://a.example","http://b.example"]'; do
    [[ $env == *"$expected"* ]] || fail "$name: /actuator/env lacks $expected: $env"
  done
  grep -o '"[a-z_.]*":{"origin":"config server[^}]*}' <<<"$env"
  sed -i 's/level: .*/level: info,tradepost::modules::gateway=debug/; s/rate: .*/rate: 50/; s/callMs: .*/callMs: 800/' "$work/git/product-service.yml"
  in_git commit --quiet -am three
  changed=$(curl -fsS -X POST -H "Authorization: Bearer $token" "$url/actuator/refresh")
  echo "refreshed: $changed"
  [[ $changed == '["gateway.rate","log.level"]' || $changed == '["log.level","gateway.rate"]' ]] || fail "$name: refreshed $changed"
  # into a variable first: grep -q exits before curl has written everything, and curl would fail
  env=$(curl -fsS -H "Authorization: Bearer $token" "$url/actuator/loggers")
  grep -q '"tradepost::modules::gateway":{"configuredLevel":"DEBUG"' <<<"$env" || fail "$name: the level is not active"
  env=$(curl -fsSi -H "Authorization: Bearer $token" "$url/actuator/env")
  grep -qi '^x-ratelimit-replenish-rate: 50' <<<"$env" || fail "$name: the rate is not active"
  grep -q 'resilience.peers.product.call_ms' "$work/$name.log" || fail "$name: the log does not list the settings that need a restart"
  [[ $(curl -fsS -X POST -H "Authorization: Bearer $token" "$url/actuator/refresh") == '[]' ]] || fail "$name: a refresh without changes reported changes"
  in_git revert --no-edit HEAD >/dev/null
}
boots from-spring "$spring_git"
boots from-ours "$our_git"

# invalid settings stop the start with a message
refuses() {
  local expected=$1
  shift
  if env "$@" "$binary" migrate --modules identity,product --data "$work/refused" >"$work/refused.log" 2>&1; then fail "started with $*"; fi
  grep -q "$expected" "$work/refused.log" || fail "$(cat "$work/refused.log")"
  cat "$work/refused.log"
}
base=TRADEPOST__CONFIG__SERVER=http://tradepost:not-a-secret@127.0.0.1
refuses 'good credentials' "TRADEPOST__CONFIG__SERVER=http://tradepost:wrong@127.0.0.1:$our_git" TRADEPOST__CONFIG__RETRY_SECONDS=0
refuses 'is there such a label' "$base:$spring_git" TRADEPOST__CONFIG__LABEL=none
refuses 'config.server' "$base:9" TRADEPOST__CONFIG__RETRY_SECONDS=1
refuses 'unknown setting `order.leese-seconds` in config server .*unknown.yml' "$base:$our_folder" TRADEPOST__CONFIG__NAME=unknown
tested "the config server beside Spring's on a folder and a git repository, a Spring client, modules on both"
