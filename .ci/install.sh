# What a bare Debian has not. Sourced.

# again COMMAND...: three tries, for what comes over a network
again() {
  local try
  for try in 1 2 3; do
    if "$@"; then return; fi
    ((try == 3)) || sleep $((5 * try))
  done
  return 1
}

# One at a time, each in a shell of its own, which lets go of the lock.
apt_install() (
  (($#)) || exit 0
  ((EUID == 0)) || { echo "please install: $*" >&2; exit 1; }
  mkdir -p /run/lock
  exec 7>/run/lock/tradepost-ci.apt
  flock 7
  # a package's server must not start by itself, and take a port that ours wants
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

# Python's YAML, for the python3 that is on the path, which need not be Debian's.
need_yaml() {
  python3 -c 'import yaml' 2>/dev/null && return
  apt_install python3-yaml
  python3 -c 'import yaml' 2>/dev/null || again python3 -m pip -q install pyyaml
}

# need COMMAND=PACKAGE ...: installs the packages whose command, or file, is not there
need() {
  local pair missing=()
  for pair; do
    if [[ $pair == /* ]]; then [[ -e ${pair%%=*} ]]; else command -v "${pair%%=*}" >/dev/null; fi || missing+=("${pair#*=}")
  done
  apt_install "${missing[@]}"
}
