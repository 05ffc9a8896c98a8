#!/usr/bin/env bash
# The Kubernetes manifests, without a cluster: kustomize renders every overlay and component. They are checked against the
# official schemas of the oldest and the newest Kubernetes with schemas, the types of the custom resources, kube-score and
# our own rules. The shop reads every environment. The split shop is updated pod by pod under load, with the rendered
# environment, probes and pauses. Tools stay in CACHE_DIR.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source .ci/common.sh
source .ci/install.sh
need python3=python3 node=nodejs npm=npm
cache=${CACHE_DIR:-$HOME/.cache/tradepost-ci}/k8s
kustomize=v5.7.1 score=v1.20.0 schemas=1.37.0 newest=1.37
oldest=1.30 # the first version with preStop.sleep
export PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tools() {
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9
  [[ -x $cache/kustomize-$kustomize ]] || go_install kustomize "$kustomize" sigs.k8s.io/kustomize/kustomize/v5
  [[ -x $cache/kube-score-$score ]] || go_install kube-score "$score" github.com/zegl/kube-score/cmd/kube-score
  python=$(python_tool kubernetes-validate "$schemas")
  if [[ ! -e $cache/npm/.ok ]] || ! cmp -s .ci/k8s/package.json "$cache/npm/package.json"; then
    mkdir -p "$cache/npm"
    cp .ci/k8s/package.json "$cache/npm/"
    (cd "$cache/npm" && again npm install --silent --no-audit --no-fund --ignore-scripts)
    touch "$cache/npm/.ok"
  fi
  exec 9>&-
}

go_install() {
  local go
  go=$(.ci/services/go.sh)
  GOTOOLCHAIN=local GOBIN=$cache/bin again nice "$go" install "$3@$2"
  mv "$cache/bin/$1" "$cache/$1-$2"
}

render() { # NAME FOLDER
  "$cache/kustomize-$kustomize" build "$2" >"$work/$1.yaml"
}

# split with one more component, for components that are in no overlay
with() {
  local root
  mkdir -p "$work/with-$1"
  root=$(realpath --relative-to="$work/with-$1" k8s)
  printf 'namespace: tradepost\nresources: [%s]\ncomponents: [%s]\n' "$root/overlays/split" "$root/components/$1" >"$work/with-$1/kustomization.yaml"
  render "with-$1" "$work/with-$1"
}

tools
if [[ ${1:-} == tools ]]; then exit; fi
for overlay in k8s/overlays/*/; do render "$(basename "$overlay")" "$overlay"; done
for component in k8s/components/*/; do
  case $(basename "$component") in
    replicated | migrate | gateway-api | eureka) ;; # part of the overlays
    *) with "$(basename "$component")" ;;
  esac
done

for version in "$oldest" "$newest"; do
  echo "-- the official schemas of Kubernetes $version"
  "$python/kubernetes-validate" --strict -k "$version" "$work"/*.yaml >"$work/validated" 2>&1 || true
  # custom resources have no schema there and are checked below; any other kind without a schema is an error
  if grep -vE "^INFO .* passed|^WARN .* find schema for kind (HTTPRoute|ExternalSecret|ServiceMonitor) " "$work/validated"; then exit 1; fi
  fit=$(grep -c '^INFO .* passed' "$work/validated") || fail "no object was validated"
  echo "$fit objects are valid"
done

echo "-- custom resources, by types generated from their definitions"
"$python/python" .ci/k8s/custom.py "$cache/npm" "$work"/*.yaml

echo "-- kube-score"
# ignored: the pull policy, because tags are fixed; anti-affinity, because pods are spread; the single replica of each of
# two registries
ignored=deployment-replicas,container-image-pull-policy,deployment-has-host-podantiaffinity,statefulset-has-host-podantiaffinity
for file in "$work"/*.yaml; do
  # intentionally one pod on a volume
  only=
  if [[ $file == */all-in-one.yaml ]]; then only=,deployment-strategy; fi
  "$cache/kube-score-$score" score --kubernetes-version v1.30 --output-format ci --exit-one-on-warning \
    --enable-optional-test container-seccomp-profile --ignore-test "$ignored$only" "$file" >"$work/scored" ||
    { grep -E '^\[(CRITICAL|WARNING)' "$work/scored"; exit 1; }
  echo "$(basename "$file"): $(grep -c '^\[OK' "$work/scored") checks"
done

echo "-- our own rules"
"$python/python" .ci/k8s/policy.py prove "$work/with-external-secrets.yaml"
"$python/python" .ci/k8s/policy.py check "$work"/*.yaml

shop=target/debug/tradepost
cargo build --locked
echo "-- every environment, read by the shop"
"$python/python" .ci/k8s/rehearse.py settings "$shop" "$work"/*.yaml
for overlay in split split-eureka; do
  echo "-- an update of $overlay under load"
  "$python/python" .ci/k8s/rehearse.py update "$shop" "$work/$overlay.yaml"
done
tested "$(ls "$work"/*.yaml | wc -l) renderings: schemas of Kubernetes $oldest and $newest, custom resources, kube-score, our rules, settings; two updates under load"
