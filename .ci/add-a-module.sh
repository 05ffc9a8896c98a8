#!/usr/bin/env bash
# Does to a copy of the project what docs/add-a-module.md says, block by block, and runs what it says to run: the new
# module's test in each shape, the house rules, a build of it alone. So the guide and its proof are one text.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/common.sh

export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
root=$PWD
copy=$root/target/guide # the same place each time: what is compiled there is known by its path
rm -rf "$copy"
mkdir -p "$copy"

export -f cargo

source .ci/install.sh
need python3=python3
# as it is here, committed or not
git ls-files -z --cached --others --exclude-standard | xargs -0 -I{} sh -c '[ ! -e "$1" ] || cp --parents -P "$1" "$2"' _ {} "$copy"

cd "$copy"
python3 .ci/guide.py apply docs/add-a-module.md
# the crates that both stand on are compiled once
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
cargo fmt --check
python3 .ci/guide.py commands docs/add-a-module.md >"$copy/typed"
grep -q 'scenarios::reviews' "$copy/typed" || { echo "the guide's commands are not found" >&2; exit 1; }
cat "$copy/typed"
bash -euo pipefail "$copy/typed" 2>&1 | tee "$copy/said"
# grep's word for it: a filter that no test matches must not pass as green
(($(grep -cE '^test result: ok\. [1-9]' "$copy/said") == 3)) || { echo "not every filter of the guide found its tests" >&2; exit 1; }
for shape in local loopback split; do
  grep -qE "^test scenarios::reviews::.*::$shape \.\.\. ok" "$copy/said" || { echo "no test of reviews in the shape $shape" >&2; exit 1; }
done
cargo clippy --locked --all-targets -- -D warnings
cargo clippy --locked --no-default-features --features svc-review -- -D warnings
# the copy's binary has taken the place of ours
cd "$root" && cargo build --quiet --locked
tested "the module that docs/add-a-module.md adds, in each shape and alone"
