#!/usr/bin/env bash
# The previous release and this one side by side under load, upgrade and rollback: on the embedded stores, and on MySQL 8,
# where `migrate` is a separate step. The binary of the previous release is built from the commit in
# .ci/previous-release, in the same target folder, so that both share compiled dependencies.
# usage: upgrade.sh    env: FEATURES (mysql) STORES ("embedded mysql8") PORT (13307)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh

work=$(mktemp -d)
service=

clean_up() {
  local code=$?
  if [[ -n $service ]]; then bash "$service" stop || true; fi
  rm -rf "$work"
  exit "$code"
}
trap clean_up EXIT

features=${FEATURES:-mysql}
target=$PWD/target
read -r commit what < <(grep -v '^#' .ci/previous-release)
[[ $commit =~ ^[0-9a-f]{40}$ ]] || fail ".ci/previous-release: expected a commit's full hash and what it is, found: $commit"
# a shallow clone lacks it: fetch that single commit from the origin
if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
  git fetch --quiet --depth 1 origin "$commit" 2>/dev/null ||
    { echo "commit $commit ($what) is not in this clone, and cannot be fetched; run: git fetch --unshallow origin" >&2; exit 77; }
fi

# always in the same folder, so that it is compiled once; under target, which git ignores
source=$target/previous/$commit
if [[ ! -d $source ]]; then
  mkdir -p "$source.part"
  git archive "$commit" | tar x -C "$source.part"
  mv "$source.part" "$source"
fi
echo "-- the previous release: $what"
(cd "$source" && TRADEPOST_COMMIT=$commit CARGO_TARGET_DIR=$target cargo build --locked --features "$features")
# build this release's binary in its place
cp "$target/debug/tradepost" "$work/previous"
cargo test --locked --features "$features" --test shop --no-run
if cmp -s "$work/previous" "$target/debug/tradepost"; then fail "both binaries are identical"; fi

run() {
  echo "-- from the previous release to this one and back: $1"
  TRADEPOST_TEST_PREVIOUS=$work/previous FEATURES=$features shop_tests -- upgrade:: --ignored --nocapture
}

for store in ${STORES:-embedded mysql8}; do
  if [[ $store == embedded ]]; then
    run embedded
    continue
  fi
  service=.ci/services/$store.sh
  # this tests the releases, not the disk: the server needs no fsync
  export FLUSH=2 STATE_DIR=$work/$store MYSQL_PORT=${PORT:-13307}
  chmod 755 "$work" # MariaDB's server drops root's rights
  bash "$service" start
  TRADEPOST_TEST_MYSQL=mysql://root@127.0.0.1:$MYSQL_PORT run "$store"
  bash "$service" stop
  service=
done
tested "from $what to this commit and back, on ${STORES:-embedded mysql8}"
