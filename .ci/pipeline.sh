# Runs stages one after the other, and prints the result and the duration of each. Sourced by .ci/run and .ci/full.
source .ci/common.sh
source .ci/stages.sh

# no program may wait for input
exec </dev/null
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 RUST_BACKTRACE=1
started=$SECONDS
work=$(mktemp -d)
beside= # process group of .ci/beside.sh
watch=  # process group that reports a late run
stage=  # process group of the running stage
rows=() # of the table at the end
declare -A why ran
left_out=() cannot=() late=() untouched=()

# pipeline gate|full [--plan] [STAGE...]
pipeline() {
  local mode=$1 plan='' name
  shift
  if [[ ${1:-} == --plan ]]; then plan=yes; shift; fi
  for name; do [[ -n ${seconds[$name]:-} ]] || { rm -rf "$work"; fail "there is no stage $name; there are: ${names[*]}"; }; done
  trap clean_up EXIT
  trap "exit 143" INT TERM
  export MODE=$mode WORK=$work FEATURES=
  choose "$mode" "$@"
  if [[ -n $plan ]]; then print_plan; exit; fi

  (($#)) || start_beside
  watch_time
  for name in "${names[@]}"; do
    [[ -n ${why[$name]:-} ]] || continue
    if [[ $mode == gate && ${gate[$name]} == touched && $# == 0 ]] && ((SECONDS - started + $(cost "$name") > budget)); then
      late+=("$name")
    else
      run_stage "$name"
    fi
  done
  end_beside
  report
}

# The expected duration of a stage in seconds.
cost() {
  local cost=${seconds[$1]}
  # the first stage of the build with every store compiles it
  if [[ ${build[$1]} == production && $1 != units && -z ${ran[units]:-} ]]; then cost=$((cost + seconds[units])); fi
  echo "$cost"
}

# Sets why[STAGE] for each stage to run.
choose() {
  local mode=$1 name changes path total=0
  shift
  for name; do why[$name]="asked for"; done
  if (($#)); then
    left_out=("every other stage")
    return
  fi
  # within the 45 minutes that the gate may take
  budget=${TRADEPOST_CI_BUDGET:-2400}
  if [[ $mode == gate ]]; then changes=$(changed_paths); fi
  for name in "${names[@]}"; do
    if [[ $mode == full || ${gate[$name]} == always ]]; then
      why[$name]=always
    elif path=$(grep -m1 -E "^(${paths[$name]%|}|$every_stage)" <<<"$changes"); then
      why[$name]="touched by $path"
      if [[ ${build[$name]} == production && -z ${why[units]:-} ]]; then why[units]="builds for $name"; fi
    else
      untouched+=("$name")
    fi
  done
  # the images come last: do not build them if their stage will be left out
  if [[ $mode == gate && -n ${why[images]:-} ]]; then
    for name in "${names[@]}"; do [[ -z ${why[$name]:-} ]] || ((total += seconds[$name])); done
    if ((total > budget)); then
      late+=(images)
      unset 'why[images]'
    fi
  fi
  # a later stage may have selected `units`
  if [[ -n ${why[units]:-} ]]; then mapfile -t untouched < <(printf '%s\n' "${untouched[@]}" | grep -vxF -e units -e ''); fi
}

# The base of the comparison: TRADEPOST_CI_BASE; or the merge base with origin/main; or, if HEAD is origin/main, the
# newest commit that is a day older than HEAD. Empty if there is none.
base_commit() {
  local base
  if [[ -n ${TRADEPOST_CI_BASE:-} ]]; then
    git rev-parse --verify --quiet "$TRADEPOST_CI_BASE^{commit}" || fail "TRADEPOST_CI_BASE: there is no commit $TRADEPOST_CI_BASE"
    return
  fi
  base=$(git merge-base origin/main HEAD 2>/dev/null || true)
  if [[ -z $base || $base == "$(git rev-parse HEAD)" ]]; then
    base=$(git rev-list -1 --first-parent --min-age=$(($(git show -s --format=%ct HEAD) - 86400)) HEAD)
  fi
  echo "$base"
}

# Paths that differ from the base, one per line, and Cargo.lock:NAME for each crate with another version. Without a
# base, a path that touches every stage.
changed_paths() {
  local base
  base=$(base_commit) || return # `set -e` does not apply in a command substitution
  if [[ -z $base ]]; then
    echo "no base to compare with: every stage counts as touched" >&2
    echo .ci/run
    return
  fi
  echo "compared with $(git show -s --format='%h of %cs, %s' "$base")" >&2
  git -c core.quotepath=off diff --name-only "$base"
  git -c core.quotepath=off ls-files --others --exclude-standard
  comm -3 <(git show "$base:Cargo.lock" | locked_crates) <(locked_crates <Cargo.lock) | awk '{ print "Cargo.lock:" $1 }' | sort -u
}

locked_crates() { awk -F'"' '/^name = / { name = $2 } /^version = / && name { print name, $2; name = "" }' | LC_ALL=C sort -u; }

print_plan() {
  local name
  for name in "${names[@]}"; do
    printf '%-14s %5s s  %s\n' "$name" "${seconds[$name]}" "${why[$name]:-left out}"
  done
  if [[ $MODE == gate ]]; then echo "a touched stage is left out if it would end later than ${budget:-2400} s after the start"; fi
}

# Fetches and builds the prerequisites of the chosen stages in the background.
start_beside() {
  local name part parts=()
  for name in "${names[@]}"; do
    if [[ -z ${why[$name]:-} ]]; then continue; fi
    for part in ${beforehand[$name]}; do
      [[ " ${parts[*]} " == *" $part "* ]] || parts+=("$part")
    done
  done
  if ((${#parts[@]} == 0)); then return; fi
  setsid .ci/beside.sh "$work" "${parts[@]}" >/dev/null 2>&1 &
  beside=$!
}

# end_group ID: ends a process group. Fails if it had to be killed.
end_group() {
  kill -TERM -- "-$1" 2>/dev/null || return 0
  for _ in $(seq 300); do
    kill -0 -- "-$1" 2>/dev/null || return 0
    sleep 0.2
  done
  if kill -KILL -- "-$1" 2>/dev/null; then return 1; fi
}

# Ends the background builds, and the engine that they may have started.
end_beside() {
  if [[ -n $beside ]] && ! end_group "$beside"; then STATE_DIR=${DOCKER_STATE:-} .ci/services/docker.sh stop || true; fi
  beside=
}

# Reports a hanging stage before the run is ended from outside.
watch_time() {
  setsid bash -c 'sleep 5100; echo "!! not done after 5100 s; running processes:"; ps -eo pid,ppid,etimes,pcpu,args --forest | cut -c1-160; sleep infinity' &
  watch=$!
}

clean_up() {
  local code=$?
  trap - EXIT
  if [[ -n $watch ]]; then kill -TERM -- "-$watch" 2>/dev/null || true; fi
  if [[ -n $stage ]]; then end_group "$stage" || true; fi
  end_beside
  rm -rf "$work"
  ((code == 0)) || echo "== failed with $code after $((SECONDS - started)) s"
  exit "$code"
}

# check_beside PART...: a background part that failed ends the run: in the gate at the stage that needs it, in the full
# run at the next stage. Without Vault the run continues.
check_beside() {
  local code part
  for code in "$work"/*.code; do
    if [[ ! -s $code ]] || (($(<"$code") == 0)); then continue; fi
    part=$(basename "$code" .code)
    if [[ $part == vault ]] || [[ $MODE == gate && " $* " != *" $part "* ]]; then continue; fi
    tail -n 60 "$work/$part" >&2
    fail "$part: failed in the background"
  done
}

# wait_beside PART...: waits until they are fetched or built. Fails in the gate if its time is over.
wait_beside() {
  local part since=$SECONDS
  for part; do
    until [[ -s $work/$part.code ]]; do
      kill -0 "$beside" 2>/dev/null || [[ -s $work/$part.code ]] || fail "$part: the background process ended without it"
      if [[ $part == images ]]; then
        if [[ $MODE == gate ]] && ((SECONDS - started > budget)); then
          tail -n 5 "$work/images" >&2
          left_out+=("the Dockerfile's images")
          export SAMPLES=yes
          end_beside
          return
        fi
      elif [[ $MODE == gate ]] && ((SECONDS - started > budget)); then
        echo "$part is not ready, and the time of the gate is over"
        return 1
      elif ((SECONDS - since > 1800)); then
        tail -n 60 "$work/$part" >&2
        fail "$part: not ready after 1800 s"
      fi
      sleep 1
    done
  done
  check_beside "$@"
  ((SECONDS - since < 5)) || echo "waited $((SECONDS - since)) s for $*"
}

run_stage() {
  local name=$1 since=$SECONDS code=0 log=$work/stage.log said tee
  check_beside
  echo "== $name"
  # shellcheck disable=SC2086
  if [[ -n $beside ]] && ! wait_beside ${beforehand[$name]}; then
    late+=("$name")
    return
  fi
  if [[ ${build[$name]} == production ]]; then export FEATURES=production; else FEATURES=; fi
  : >"$log"
  exec 8> >(exec tee "$log")
  tee=$!
  # in the background, because bash runs no trap while it waits for a command; in its own session, to be ended as a whole
  setsid env --default-signal=INT,QUIT bash .ci/stages.sh "$name" >&8 2>&1 8>&- &
  stage=$!
  wait "$stage" || code=$?
  stage=
  exec 8>&-
  # a process that outlives its stage keeps the pipe open
  for _ in $(seq 100); do
    kill -0 "$tee" 2>/dev/null || break
    sleep 0.1
  done
  mapfile -t -O "${#left_out[@]}" left_out < <(sed -n 's/^left out: //p' "$log")
  said=$(what_was_tested <"$log")
  if ((code == 77)); then
    cannot+=("$name")
    said="could not run here"
  elif ((code)); then
    rows+=("| $name | $((SECONDS - since)) | **failed** with $code |")
    table
    exit "$code"
  elif [[ -z $said ]]; then
    fail "$name did not print what it tested"
  fi
  ran[$name]=yes
  rows+=("| $name | $((SECONDS - since)) | $said |")
  echo "== $name: $said ($((SECONDS - since)) s)"
}

# From a stage's output: its last line `tested: ...`, and how many tests cargo has run.
what_was_tested() {
  awk '
    / Running unittests/ { kind = "lib" } / Running tests\/main/ { kind = "shop" } / Running tests\/layers/ { kind = "layers" } / Doc-tests/ { kind = "doc" }
    /^test result: ok\. [1-9]/ { if (!count[kind]) kinds[++n] = kind; count[kind] += $4 }
    /^tested: / { said = substr($0, 9) }
    END {
      for (i = 1; i <= n; i++) tests = tests (i > 1 ? ", " : "") count[kinds[i]] " " (kinds[i] ? kinds[i] " " : "") "tests"
      if (tests) tests = tests " passed"
      print said (said && tests ? "; " : "") tests
    }'
}

table() {
  printf '\n| stage | seconds | tested |\n| --- | ---: | --- |\n'
  printf '%s\n' "${rows[@]}" "| in all | $((SECONDS - started)) | |"
  echo
}

report() {
  local all=("${untouched[@]}" "${late[@]}" "${cannot[@]}" "${left_out[@]}") list
  table
  if ((${#untouched[@]})); then echo "left out, because none of their files has changed: ${untouched[*]}"; fi
  if ((${#late[@]})); then echo "left out for lack of time, although touched: ${late[*]}"; fi
  if ((${#cannot[@]})); then echo "could not run here: ${cannot[*]}"; fi
  printf -v list ', %s' "${all[@]}"
  if ((${#all[@]} == 0)); then list=', nothing'; fi
  echo "== all passed in $((SECONDS - started)) s; left out: ${list:2}"
}
