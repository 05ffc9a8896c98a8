#!/usr/bin/env bash
# The dependency tree by cargo-deny (bans, licences, sources, advisories; policy in deny.toml), and unused dependencies
# by cargo-machete. Fails if a tool cannot be installed.
#
# The RustSec database is a folder with its files, if there is one: TRADEPOST_ADVISORY_DB, or ../shared/advisory-db.
# Otherwise cargo-deny clones it from the internet. If that cannot be reached, the advisories are left out, and the run's
# last line names them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh
source .ci/install.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install_cargo_tools
upstream=https://github.com/RustSec/advisory-db
folder=${TRADEPOST_ADVISORY_DB:-../shared/advisory-db}
checks=(bans licenses sources)
config=(--config deny.toml)
if [[ -d $folder/crates ]]; then
  # cargo-deny reads only a clone: this setting makes git use this folder instead of the upstream repository
  cp -r "$folder" "$work/files" && chmod -R u+w "$work/files" && rm -rf "$work/files/.git"
  git -C "$work/files" init --quiet --initial-branch main
  git -C "$work/files" add --all --force
  git -C "$work/files" -c user.name=ci -c user.email=ci@localhost -c commit.gpgsign=false commit --quiet --message "$folder"
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=url.file://$work/files.insteadOf GIT_CONFIG_VALUE_0=$upstream
  # do not change the user's own clone
  mkdir "$work/clones"
  sed "/^\[advisories\]/a db-path = \"$work/clones\"" deny.toml >"$work/deny.toml"
  config=(--config "$work/deny.toml")
  checks+=(advisories)
elif [[ -z ${TRADEPOST_ADVISORY_DB:-} ]] && GIT_TERMINAL_PROMPT=0 timeout 20 git ls-remote --quiet "$upstream" HEAD >/dev/null 2>&1; then
  checks+=(advisories)
elif [[ -n ${TRADEPOST_ADVISORY_DB:-} ]]; then
  fail "TRADEPOST_ADVISORY_DB: there is no advisory database in $folder"
else
  echo "left out: advisories"
fi
command cargo deny --all-features --locked "${config[@]}" check "${checks[@]}"
# cargo-machete reads only the folders of targets, and modules/ is not one of them
mkdir "$work/tree"
tar c --exclude target Cargo.toml Cargo.lock build.rs src tests benches | tar x -C "$work/tree"
cp -r modules "$work/tree/src/modules"
command cargo machete --with-metadata "$work/tree"
crates=$(cargo tree --locked -e normal,build --prefix none | sed 's/ (.*//' | sort -u | grep -cv '^tradepost ')
tested "$(IFS=,; echo "${checks[*]}" | sed 's/,/, /g') of all features; unused dependencies; $crates crates in a default build"
