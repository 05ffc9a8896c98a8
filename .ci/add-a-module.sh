#!/usr/bin/env bash
# Applies docs/add-a-module.md to a copy of the project, block by block, and runs its commands: the new module's test in
# each deployment mode, the structure tests, a build of the module alone. So the guide itself is tested.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh

export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
root=$PWD
copy=$root/target/guide # always the same folder: cargo reuses compiled crates by path
rm -rf "$copy"
mkdir -p "$copy"

export -f cargo

source .ci/install.sh
need python3=python3
# the working tree, with uncommitted changes
git ls-files -z --cached --others --exclude-standard | xargs -0 -I{} sh -c '[ ! -e "$1" ] || cp --parents -P "$1" "$2"' _ {} "$copy"

cd "$copy"
python3 .ci/guide.py apply docs/add-a-module.md
# dependencies are compiled once for both
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
cargo fmt --check
python3 .ci/guide.py commands docs/add-a-module.md >"$copy/typed"
grep -q 'scenarios::reviews' "$copy/typed" || { echo "the guide's commands were not found" >&2; exit 1; }
cat "$copy/typed"
bash -euo pipefail "$copy/typed" 2>&1 | tee "$copy/said"
# a filter that matches no test must fail
(($(grep -cE '^test result: ok\. [1-9]' "$copy/said") == 3)) || { echo "a test filter of the guide matched no tests" >&2; exit 1; }
for shape in local loopback split; do
  grep -qE "^test scenarios::reviews::.*::$shape \.\.\. ok" "$copy/said" || { echo "no test of reviews in the deployment mode $shape" >&2; exit 1; }
done
cargo clippy --locked --all-targets -- -D warnings
cargo clippy --locked --no-default-features --features svc-review -- -D warnings
# restore our binary, which the copy's binary has replaced
cd "$root" && cargo build --quiet --locked
tested "the module that docs/add-a-module.md adds, in each deployment mode and alone"
