#!/usr/bin/env bash
# The images of docker-compose.yml, built with the Dockerfile on a real Docker engine: their content and size, and that
# they start without privileges on a read-only file system. Then docker-compose.yml itself (.ci/compose.sh).
#
# Built without LTO, unless LTO=fat, the Dockerfile's default, which takes much longer and is 6 % smaller. Thin LTO is no
# smaller than none.
# No image can be pulled here. The Dockerfile's base, rust:1.95-bookworm, is made on Debian by debootstrap, with this
# machine's Rust.
# usage: images.sh [build] [MODULE...]   build: without compose.sh after it; without a module: all
# environment: CACHE_DIR, DOCKER_STATE (of the engine; keeps images and compiled layers), CPU_SHARES
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source .ci/install.sh
need python3=python3 objcopy=binutils git=git
need_yaml
export DOCKER_NETNS=${DOCKER_NETNS:-tradepost-ci} DOCKER_BUILDKIT=1
export DOCKER_STATE=${DOCKER_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/tradepost-ci/docker}
export DOCKER_HOST=unix://$DOCKER_STATE/docker.sock
work=$(mktemp -d)
# the engine's own client, which needs no plug-in for BuildKit; the path may have another one
docker() { /usr/bin/docker "$@"; }
engine() { STATE_DIR=$DOCKER_STATE .ci/services/docker.sh "$@"; }
fail() {
  echo "images: $*" >&2
  exit 1
}

ours= # set once our engine runs
clean_up() {
  local code=$?
  trap - EXIT
  if [[ -n $ours ]]; then
    docker rm -f tradepost-images >/dev/null 2>&1 || true
    engine stop || true
  fi
  rm -rf "$work"
  exit "$code"
}
trap clean_up EXIT
trap 'exit 143' INT TERM

# The toolchain of this machine under the name of the Dockerfile's base image.
rust() {
  local image=$1 toolchain
  docker image inspect "$image" >/dev/null 2>&1 && return
  toolchain=$(rustc --print sysroot)
  mkdir -p "$work/rust/bin" "$work/rust/lib"
  cp "$toolchain"/bin/{cargo,rustc} "$work/rust/bin/"
  cp -r "$toolchain"/lib/*.so* "$toolchain/lib/rustlib" "$work/rust/lib/"
  rm -rf "$work/rust/lib/rustlib/src"
  # use this machine's package registries
  cp /etc/ssl/certs/ca-certificates.crt "$work/"
  engine import-base tradepost-ci/rust:1 ca-certificates,g++,gcc,libc6-dev,libssl-dev,make,pkg-config >/dev/null
  printf 'FROM tradepost-ci/rust:1\nCOPY rust /usr/local\nCOPY ca-certificates.crt /etc/ssl/certs/\nRUN cargo --version\n' >"$work/Dockerfile"
  docker build -q --network host -t "$image" "$work" >/dev/null
}

# name and features of each image that docker-compose.yml builds
images() {
  python3 - <<'P'
import yaml
seen = {}
for service in yaml.safe_load(open("docker-compose.yml"))["services"].values():
    if "build" in service:
        features = service["build"]["args"]["FEATURES"]
        if seen.setdefault(service["image"], features) != features:
            raise SystemExit(f"{service['image']} is built with different features")
for image, features in seen.items():
    print(image, features)
P
}

# Crates that the binary lists, and those that Cargo compiles into it. The list in the binary has a few more: macros, and
# crates that a feature written with `?` would enable.
said() {
  objcopy -O binary --only-section=.dep-v0 --set-section-flags .dep-v0=alloc "$1" "$work/list"
  python3 - "$work/list" <<'P'
import json, sys, zlib
for crate in json.loads(zlib.decompress(open(sys.argv[1], "rb").read()))["packages"]:
    print(crate["name"], crate["version"])
P
}
meant() {
  cargo tree --quiet --locked -e normal,no-proc-macro --prefix none --no-default-features --features "$1" -f '{p}' | sed -E 's/ \((\*|proc-macro|\/.*)\)//g; s/ v/ /' | sort -u
}

build() {
  local image=$1 features=$2 since=$SECONDS bytes limit=$service_limit binary=$work/tradepost
  docker build --quiet --network host --build-arg "FEATURES=$features" --build-arg "LTO=$LTO" --build-arg "COMMIT=$commit" --build-arg "VERSION=${image##*:}" \
    --build-arg "SOURCE_DATE_EPOCH=$(git show -s --format=%ct HEAD)" -t "$image" . >"$work/built" 2>"$work/log" ||
    { tail -40 "$work/log" >&2; fail "$image was not built"; }
  # megabytes; MongoDB's driver is large
  case $features in
    all-in-one) limit=40 ;;
    *mongodb*) limit=$((service_limit + 3)) ;;
  esac
  bytes=$(docker image inspect --format '{{.Size}}' "$image")
  docker create --name tradepost-images "$image" >/dev/null
  docker export tradepost-images | tar -C "$work" -xf - tradepost
  # ignore files that the engine adds to every container
  docker export tradepost-images | tar -t | grep -vE '^(dev|proc|sys)/|^\.dockerenv$|^etc/(hostname|hosts|resolv\.conf|mtab)$|/$' | sort >"$work/files"
  docker rm tradepost-images >/dev/null
  [[ $(<"$work/files") == $'etc/nsswitch.conf\netc/ssl/certs/ca-certificates.crt\ntradepost' ]] || { cat "$work/files" >&2; fail "$image contains unexpected files"; }
  if readelf -d "$binary" | grep NEEDED; then fail "$image: the binary needs libraries"; fi
  [[ $(docker image inspect --format '{{.Config.User}}' "$image") == 65532:65532 ]] || fail "$image runs as root"
  [[ $(docker image inspect --format '{{index .Config.Labels "org.opencontainers.image.revision"}}' "$image") == "$commit" ]] || fail "$image has no label with its commit"
  "$binary" --version | grep -qF "${image##*:} (commit $commit)" || fail "$image reports: $("$binary" --version)"
  said "$binary" | sort -u >"$work/said"
  (($(wc -l <"$work/said") > 100)) && comm -23 <(meant "$features") "$work/said" >"$work/missing" && [[ ! -s $work/missing ]] || { cat "$work/missing" >&2; fail "$image does not list its crates"; }
  awk -v image="$image" -v bytes="$bytes" -v packed="$(gzip -6 <"$binary" | wc -c)" -v crates="$(wc -l <"$work/said")" -v took=$((SECONDS - since)) \
    'BEGIN { printf "%-28s %5.1f MB, %4.1f compressed; lists %d crates; built in %d s with LTO=%s\n", image, bytes / 1e6, packed / 1e6, crates, took, ENVIRON["LTO"] }'
  ((bytes <= limit * 1000000)) || over+=("$image")
}

# The whole shop in a container that can write only to its volume.
start() {
  local since took
  since=$(date +%s%N)
  docker run -d --name tradepost-images --network none --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /data:uid=65532,mode=0700 \
    -e TRADEPOST__IDENTITY__ALLOW_IN_PRODUCTION=true "$1" >/dev/null
  until docker exec tradepost-images /tradepost healthcheck >/dev/null 2>&1; do
    [[ $(docker inspect --format '{{.State.Running}}' tradepost-images) == true ]] && (($(date +%s%N) - since < 120 * 10 ** 9)) ||
      { docker logs tradepost-images >&2; fail "$1 did not become ready"; }
    sleep 0.02
  done
  took=$((($(date +%s%N) - since) / 1000000))
  echo "$1 was healthy after $took ms, including the container's start"
  docker stop tradepost-images >/dev/null
  [[ $(docker inspect --format '{{.State.ExitCode}}' tradepost-images) == 0 ]] || fail "$1 did not stop cleanly"
  docker rm tradepost-images >/dev/null
}

then_compose=yes
if [[ ${1:-} == build ]]; then
  then_compose=
  shift
fi
export LTO=${LTO:-off}
service_limit=26
if [[ $LTO == fat ]]; then service_limit=25; fi
over=()
commit=$(git rev-parse HEAD)
if engine status >/dev/null 2>&1; then fail "an engine is already running: $DOCKER_HOST; stop it, or set DOCKER_STATE"; fi
ours=yes
engine start host
rust "rust:$(sed -n 's/^ARG RUST=//p' Dockerfile)"
images >"$work/wanted"
while read -r image features; do
  name=${image#*/}
  if (($#)) && [[ " $* " != *" ${name%%:*} "* ]]; then continue; fi
  build "$image" "$features"
  if [[ $features == all-in-one ]]; then start "$image"; fi
done <"$work/wanted"
((${#over[@]} == 0)) || fail "larger than features.md states: ${over[*]}"
[[ -n $then_compose ]] || exit 0
engine stop
engine start isolated
bash .ci/compose.sh
