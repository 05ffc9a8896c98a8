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

apt_install() {
  (($#)) || return 0
  ((EUID == 0)) || { echo "please install: $*" >&2; return 1; }
  # a package's server must not start by itself, and take a port that ours wants
  local policy=/usr/sbin/policy-rc.d ours=
  if [[ ! -e $policy ]]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  apt-get -qq -o Acquire::Retries=3 update
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "$@" >/dev/null || { local code=$?; [[ -z $ours ]] || rm -f "$policy"; return "$code"; }
  [[ -z $ours ]] || rm -f "$policy"
}

# need COMMAND=PACKAGE ...: installs the packages whose command, or file, is not there
need() {
  local pair missing=()
  for pair; do
    if [[ $pair == /* ]]; then [[ -e ${pair%%=*} ]]; else command -v "${pair%%=*}" >/dev/null; fi || missing+=("${pair#*=}")
  done
  apt_install "${missing[@]}"
}
