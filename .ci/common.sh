# What the scripts here say and do alike. Sourced.

fail() {
  echo "$*" >&2
  exit 1
}

# free_ports COUNT: ports where nobody listens, in one line; none that the system gives to whoever asks for any
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

# For shops that are asked once: on a busy machine they take their time.
patient() {
  local limit
  for limit in MYSQL__CONNECT MYSQL__ACQUIRE MYSQL__STATEMENT MYSQL__TRANSACTION RESILIENCE__CALL ORDER__PEERS; do
    export "TRADEPOST__${limit}_MS=60000"
  done
  export TRADEPOST__SERVER__REQUEST_SECONDS=60
}

# Cargo with mold as linker where there is one, and nothing else changed, so that all stages share what is built.
cargo() {
  if command -v mold >/dev/null; then mold -run cargo "$@"; else command cargo "$@"; fi
}
