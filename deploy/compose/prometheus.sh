#!/bin/sh
# Prometheus with the files of deploy/prometheus, except for two addresses: there the registry and Alertmanager are on
# loopback, here they have host names.
set -eu
from=${FROM:-/etc/tradepost} to=${TO:-/tmp}
sed -e 's/127\.0\.0\.1:8761/registry:8761/' -e 's/127\.0\.0\.1:9093/alertmanager:9093/' "$from/prometheus.yml" >"$to/prometheus.yml"
ln -sfn "$from/rules" "$to/rules"
ln -sfn "${SECRETS:-/run/secrets}" "$to/secrets"
exec prometheus --config.file="$to/prometheus.yml" --storage.tsdb.path="${DATA:-/prometheus}" --storage.tsdb.retention.time=35d "$@"
