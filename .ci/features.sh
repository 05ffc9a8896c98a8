#!/usr/bin/env bash
# Every feature of Cargo.toml compiles without a warning. Left out are `default` and `all-in-one`, which the lints have
# compiled; `store`, which is useless without a backend; and each module with a `svc-` feature, which is the module
# with its backend.
# environment: CHECK: `check` (the default) or `clippy`, which .ci/full uses
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh

# the features of the build without SQL that features.md describes
without_sql=product,mongodb,kafka
named=$(sed -n '/^\[features\]/,/^\[dep/s/^\([a-z][a-z0-9-]*\) = .*/\1/p' Cargo.toml)
[[ $named == *svc-order* && $named == *sqlite* ]] || fail "the features in Cargo.toml were not found"
sets=0
for feature in "" $named registry,gateway,config-server $without_sql; do
  case $feature in default | all-in-one | store) continue ;; esac
  if [[ $'\n'$named$'\n' == *$'\n'svc-$feature$'\n'* ]]; then continue; fi
  since=$SECONDS
  # quiet, so cargo prints only warnings and errors
  said=$(cargo "${CHECK:-check}" --quiet --locked --no-default-features --features "$feature" 2>&1) || fail "${feature:-no feature}: $said"
  [[ -z $said ]] || fail "${feature:-no feature}: $said"
  echo "-- ${feature:-none}: $((SECONDS - since)) s"
  sets=$((sets + 1))
done
crates=$(cargo tree --quiet --locked -e normal,build --prefix none --no-default-features --features "$without_sql")
if grep -E '^(diesel|libsqlite3-sys)' <<<"$crates"; then fail "a product service on MongoDB needs no SQL, but has the crates above"; fi
tested "$sets feature sets by cargo ${CHECK:-check}, each without a warning"
