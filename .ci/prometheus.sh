#!/usr/bin/env bash
# The files of deploy/prometheus, deploy/alertmanager and deploy/grafana, on a real Prometheus and Alertmanager:
# 1. promtool and amtool: they are well-formed, each alert fires only when it should, and each severity reaches its
#    receiver;
# 2. with a shop under load, one process per module and all in one: every query of every dashboard and every recording
#    rule finds data, and so does each selector of every alert (most whole expressions are empty in a healthy shop). The
#    test breaks an invariant in the database, and the alert arrives. See tests/observe/prometheus.rs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source .ci/common.sh
source .ci/install.sh
need prometheus=prometheus prometheus-alertmanager=prometheus-alertmanager curl=curl
export STATE_DIR=${STATE_DIR:-$(mktemp -d)} PROMETHEUS_PORT=${PROMETHEUS_PORT:-19090} ALERTMANAGER_PORT=${ALERTMANAGER_PORT:-19190}
mkdir -p "$STATE_DIR"

# a test that completes stops its own processes
clean_up() {
  local folder
  for folder in "$STATE_DIR"/*/; do
    for service in prometheus alertmanager; do
      STATE_DIR=$folder bash ".ci/services/$service.sh" stop >/dev/null 2>&1 || true
    done
  done
  rm -rf "$STATE_DIR"
}
trap clean_up EXIT

receives() {
  local receiver=$1
  shift
  amtool config routes test --config.file deploy/alertmanager/alertmanager.yml --verify.receivers="$receiver" "$@"
}

promtool check config deploy/prometheus/prometheus.yml
promtool check config deploy/prometheus/all-in-one.yml
promtool test rules deploy/prometheus/tests/*.yml
amtool check-config deploy/alertmanager/alertmanager.yml
receives page severity=page alertname=OrdersFailing
receives tickets severity=ticket alertname=OrdersFailing
receives watchdog severity=none alertname=Watchdog

shop_tests observe:: -- --include-ignored --nocapture
tested "promtool and amtool, each query on a shop under load"
