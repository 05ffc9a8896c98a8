# Functions that the scripts of this folder share. Sourced.

fail() {
  echo "$*" >&2
  exit 1
}

# tested TEXT: reports what a stage tested; the pipeline prints it in the stage's last line
tested() { echo "tested: $*"; }

# free_ports COUNT: unused ports in one line, outside the range that the system assigns by itself
free_ports() {
  python3 - "$1" <<'PYTHON'
import random, socket, sys

ports = []
for port in random.sample(range(20000, 28000), 8000):
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            continue
    ports.append(str(port))
    if len(ports) == int(sys.argv[1]):
        break
print(*ports)
PYTHON
}

# until_true SECONDS WHAT COMMAND...: waits until the command succeeds
until_true() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || fail "timed out waiting until $what"
    sleep 0.2
  done
}

random_secret() { head -c 18 /dev/urandom | base64 | tr '+/' '-_'; }

# Timeouts for shops on a busy machine.
patient() {
  local limit
  for limit in MYSQL__CONNECT MYSQL__ACQUIRE MYSQL__STATEMENT MYSQL__TRANSACTION RESILIENCE__CALL ORDER__PEER_TIMEOUT; do
    export "TRADEPOST__${limit}_MS=60000"
  done
  export TRADEPOST__SERVER__REQUEST_SECONDS=60
}

# Cargo with mold as its linker where mold is installed. Nothing else differs, so all stages share what is built.
cargo() {
  if command -v mold >/dev/null; then mold -run cargo "$@"; else command cargo "$@"; fi
}

# shop_tests ARGUMENTS...: tests/main.rs with the features in FEATURES. A filter that matches no test is an error.
shop_tests() {
  local log code=0
  log=$(mktemp)
  cargo test --locked ${FEATURES:+--features "$FEATURES"} --test shop "$@" 2>&1 | tee "$log" || code=$?
  ((code)) || grep -qE '^test result: ok\. [1-9]' "$log" || code=78
  rm "$log"
  ((code != 78)) || fail "no test ran: $*"
  return "$code"
}
