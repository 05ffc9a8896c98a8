#!/usr/bin/env bash
# A real Kafka from Maven's registry, on loopback: one broker that is its own controller, or one of several.
# usage: kafka.sh install|start|stop|kill|status   (needs mvn, java 17, ss); its data survives until STATE_DIR is removed
# environment: STATE_DIR (its data), CACHE_DIR (the jars), KAFKA_PORT (and the one after it), KAFKA_ADVERTISED (host:port
# for clients, if a proxy forwards their connections)
# With CERTIFICATES, a folder of certificates.sh, there are two more listeners: TLS with client certificates at port + 2, and at
# port + 3 TLS with a login (PLAIN, SCRAM) as `shop` by KAFKA_PASSWORD.
# With KAFKA_VOTERS (`1@host:port,2@...`, their controllers' ports) this is node KAFKA_NODE of them; every node has a
# replica, and two must have a record before it is acknowledged. They wait for each other, so start them in parallel.
set -euo pipefail
name=kafka version=4.4.0
state=${STATE_DIR:?} cache=${CACHE_DIR:-$HOME/.cache/tradepost-ci} port=${KAFKA_PORT:-9092}
controller=$((port + 1)) node=${KAFKA_NODE:-1}
voters=${KAFKA_VOTERS:-$node@127.0.0.1:$controller}
commas=${voters//[^,]/}
copies=$((${#commas} + 1))
jars=$cache/kafka-$version
log=$state/log
source "$(dirname "${BASH_SOURCE[0]}")/process.sh"

install() {
  [[ -f $jars/.complete ]] && return
  mkdir -p "$state" "$jars"
  cat >"$state/pom.xml" <<X
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>tradepost.ci</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
X
  again mvn -q -B -f "$state/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars"
  touch "$jars/.complete"
}

busy() { [[ -n $(ss -ltnH "sport = :$1") ]]; }

start() {
  install
  alive && return
  mkdir -p "$state"
  if busy "$port" || busy "$controller"; then
    echo "port $port or $controller is in use; set KAFKA_PORT" >&2
    return 1
  fi
  cat >"$state/server.properties" <<X
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://${KAFKA_ADVERTISED:-127.0.0.1:$port}
controller.listener.names=CONTROLLER
log.dirs=$state/data
auto.create.topics.enable=false
default.replication.factor=$copies
min.insync.replicas=$((copies > 1 ? 2 : 1))
offsets.topic.replication.factor=$copies
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=$copies
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
X
  local login=()
  if [[ -n ${CERTIFICATES:-} ]]; then secure; fi
  local java=(java -cp "$jars/*" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn)
  if [[ ! -f $state/data/meta.properties ]]; then
    # any id: 16 bytes in base64url
    "${java[@]}" kafka.tools.StorageTool format -t dHJhZGVwb3N0LWthZmthMQ -c "$state/server.properties" "${login[@]}" >"$state/format.log" 2>&1
  fi
  launch "${java[@]}" -Xms128m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 kafka.Kafka "$state/server.properties"
  until_it "127.0.0.1:$port" knows_its_protocol
}

# The two listeners with TLS, and the user's credentials for the first start.
secure() {
  local module=org.apache.kafka.common.security at=listener.name.sasl_ssl mechanism
  cat "$CERTIFICATES/server.key" "$CERTIFICATES/server.pem" >"$state/keystore.pem"
  local more=SSL://127.0.0.1:$((port + 2)),SASL_SSL://127.0.0.1:$((port + 3))
  sed -i -E "/^(advertised\.)?listeners=/s|\$|,$more|" "$state/server.properties"
  cat >>"$state/server.properties" <<X
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location=$state/keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location=$CERTIFICATES/ca.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
$at.plain.sasl.jaas.config=$module.plain.PlainLoginModule required user_shop="${KAFKA_PASSWORD:?}";
X
  for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
    echo "$at.${mechanism,,}.sasl.jaas.config=$module.scram.ScramLoginModule required;" >>"$state/server.properties"
    login+=(--add-scram "$mechanism=[name=shop,password=$KAFKA_PASSWORD]")
  done
}

# Succeeds if the broker responds to ApiVersions (key 18).
knows_its_protocol() {
  (
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf '\0\0\0\013\0\022\0\0\0\0\0\001\0\001x' >&3
    [[ $(timeout 2 head -c 4 <&3 | wc -c) == 4 ]]
  ) 2>/dev/null
}

# waits until its ports are free again
gone() {
  for _ in $(seq 600); do
    if ! busy "$port" && ! busy "$controller"; then return; fi
    sleep 0.1
  done
  echo "port $port or $controller is still in use" >&2
  return 1
}

command_stop() {
  end_with TERM
  gone
}
# like a power loss: nothing is flushed, no connection is closed cleanly
command_kill() {
  end_with KILL
  gone
}
"command_${1:-usage}"
