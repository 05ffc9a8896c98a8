# The stages of .ci/run and .ci/full, in the order in which they run. Sourced by .ci/pipeline.sh; run by itself, as
# `bash .ci/stages.sh NAME`, it runs one stage. docs/ci.md describes them.

names=()
declare -A seconds gate build beforehand paths

# stage NAME SECONDS always|touched default|production BEFOREHAND PATHS
#   SECONDS: the expected duration on two idle cores; the gate plans with it
#   always|touched: whether the gate runs it always, or only when a path of it has changed
#   production: uses the build with every store, which the stage `units` makes
#   BEFOREHAND: what .ci/beside.sh fetches or builds for it in the background
#   PATHS: an extended regular expression, matched against the start of each changed path. Cargo.lock:NAME is a crate
#   with a changed version. The stage's own script is always included.
stage() {
  names+=("$1")
  seconds[$1]=$2 gate[$1]=$3 build[$1]=$4 beforehand[$1]=$5
  paths[$1]="\.ci/$1(\.|/|$)|${6:-}"
}

# the files that docs/add-a-module.md changes
guided=$(sed -n 's/^In `\([^`]*\)`.*/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../docs/add-a-module.md" | sort -u | sed 's/\./\\./g' | paste -sd'|')

stage tools         60 always  default    ""
stage format         5 always  default    ""
stage words          5 always  default    ""
stage lints        210 always  default    ""
stage features     360 always  default    ""
stage slim          95 always  default    ""
stage dependencies  10 always  default    "cargo-tools"
stage tests        450 always  default    ""
stage kills        135 always  default    ""
stage pairs         70 always  default    ""
stage newcomer      10 always  default    ""
stage tour          80 always  default    ""
stage prometheus   100 touched default    "prometheus alertmanager" \
  'deploy/(prometheus|alertmanager|grafana)/|tests/observe/|src/observe/metrics|.*metrics\.rs|\.ci/services/(prometheus|alertmanager)|Cargo\.lock:prometheus'
stage interop      180 touched default    "" \
  'tests/interop/(pom|client|server|gateway|admin)|modules/(registry|gateway)/|src/rpc/discovery|src/net/server_list|src/ops/actuator|src/edge/exchanges'
stage k8s          300 touched default    "k8s" 'k8s/|tradepost\.example\.toml'
stage guide        150 touched default    "" "docs/add-a-module\.md|\.ci/(add-a-module|guide)|$guided"
stage units        450 touched production "" '(src|modules)/.*(mysql|mongodb|kafka|tls|vault|otlp|cipher)'
stage keycloak      90 touched production "keycloak" 'deploy/keycloak/|src/edge/auth|src/rpc/(oidc|credentials)|tests/security/keycloak|\.ci/services/keycloak'
stage config       120 touched production "" 'modules/config_server/|src/config/|src/settings/|tests/interop/config/|Cargo\.lock:(config|serde_yaml)'
stage kafka        300 touched production "kafka" 'src/events/bus|tests/chaos/kafka|\.ci/services/kafka|Cargo\.lock:rdkafka'
stage tls          120 touched production "keycloak" 'src/net/tls|tests/security/tls|Cargo\.lock:(rustls|tokio-rustls|webpki)'
stage stores       400 touched production "mysql8 mariadb" \
  'src/data/|src/events/sql/|modules/.*/store|migrations/.*/mysql/|tests/mysql/|\.ci/services/(mysql8|mariadb)|Cargo\.lock:(diesel|mysql)'
stage data          60 touched production "mariadb" 'docs/data/|demo/'
stage backup       120 touched production "mysql8 mariadb kafka" 'src/app/backup|\.ci/services/Rewind'
stage upgrade      150 touched production "mysql8" 'migrations/|tests/upgrade/|\.ci/previous-release'
stage mongo        120 touched production "mongojava" \
  'src/data/mongodb|src/events/mongodb|modules/product/store|tests/mongo/|\.ci/services/mongojava|Cargo\.lock:(mongodb|bson)'
stage zipkin        40 touched production "kafka zipkin" 'src/observe/(trace|log)|src/rpc/trace|tests/tracing/|\.ci/services/zipkin|Cargo\.lock:(opentelemetry|tracing)'
stage vault        120 touched production "mysql8 vault" 'src/net/vault|tests/vault/|modules/config_server/vault|\.ci/services/(vault|go)|Cargo\.lock:(vaultrs|rustify)'
stage together     450 touched production "keycloak kafka mongojava mysql8 mariadb" 'tests/support/'
stage images       900 touched default    "base images" 'Dockerfile|docker-compose|\.dockerignore|\.env|deploy/compose/|\.ci/(compose|services/docker)'

# a change of these files touches every stage
every_stage='\.ci/(common|install|stages|pipeline|beside)\.sh|\.ci/(run|full)$|\.ci/services/process'

[[ ${BASH_SOURCE[0]} == "$0" ]] || return 0

# ---- one stage, in its own process
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh
source .ci/install.sh

stage_tools() {
  ((EUID == 0)) || fail "this needs root: it installs servers, and runs a Docker engine in its own network namespace"
  need gcc=gcc /usr/include/stdlib.h=libc6-dev g++=g++ make=make /usr/include/openssl/ssl.h=libssl-dev pkg-config=pkg-config \
    curl=curl git=git /bin/kill=procps openssl=openssl python3=python3 javac=default-jdk-headless mvn=maven ss=iproute2 unzip=unzip
  need_yaml
  optional mold "the default linker is used"
  if [[ ${MODE:-} == full ]]; then
    # a package that cannot be installed fails now instead of an hour later
    .ci/services/docker.sh install
    .ci/services/mariadb.sh install
    .ci/services/prometheus.sh install
    .ci/services/alertmanager.sh install
    need socat=socat
    .ci/services/vault.sh ready || optional go "Vault cannot be built" golang-go
  fi
  rustup component add rustfmt clippy >/dev/null 2>&1 || true
  cargo fmt --version && cargo clippy --version
  tested "nothing yet: $(rustc --version), $(nproc) cores"
}

# optional COMMAND CONSEQUENCE [PACKAGE]: installs what a run can do without
optional() {
  command -v "$1" >/dev/null || (apt_install "${3:-$1}") >/dev/null 2>&1 || echo "$1 cannot be installed: $2"
}

stage_format() {
  cargo fmt --check
  need shellcheck=shellcheck
  # ignored: empty values, variables of sourced files, `export name=$(command)`
  shellcheck --shell bash --severity warning --exclude SC1007,SC2034,SC2154,SC2155 --external-sources --source-path .ci \
    .ci/run .ci/full .ci/slim .ci/*.sh .ci/services/*.sh
  tested "cargo fmt; shellcheck on the scripts of .ci"
}

stage_words() { bash .ci/words.sh; }

stage_lints() {
  cargo clippy --locked --all-targets -- -D warnings
  cargo clippy --locked --all-targets --all-features -- -D warnings
  tested "clippy on all targets, with the default features and with all"
}

stage_features() { bash .ci/features.sh; }

stage_slim() { bash .ci/slim; }

stage_dependencies() { bash .ci/dependencies.sh; }

stage_tests() { cargo test --locked; }

stage_kills() { TRADEPOST_CHAOS_RUNS=50 shop_tests chaos::kill; }

# Two processes of each module under load; every two seconds the next one is killed with -9.
stage_pairs() { TRADEPOST_CHAOS_SECONDS=${TRADEPOST_CHAOS_SECONDS:-60} shop_tests -- --nocapture chaos::pairs chaos::paused; }

stage_guide() { bash .ci/add-a-module.sh; }

stage_units() { cargo test --locked --features "$FEATURES" --lib; }

stage_together() { bash .ci/together.sh; }

# The images, which .ci/beside.sh may have built; then docker-compose.yml with them.
stage_images() {
  if [[ ${SAMPLES:-} == yes ]]; then
    DOCKER_STATE=$WORK/docker DOCKER_NETNS=tradepost-samples .ci/compose.sh
  elif [[ -s ${WORK:-}/images.code ]]; then
    cat "$WORK/images"
    .ci/compose.sh
  else
    .ci/images.sh
  fi
}

name=${1:?usage: stages.sh NAME}
if declare -F "stage_$name" >/dev/null; then "stage_$name"; else bash ".ci/$name.sh"; fi
