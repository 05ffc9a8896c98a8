# What the scripts here say and do alike. Sourced.

fail() {
  echo "$*" >&2
  exit 1
}

# Cargo with mold as linker where there is one, and nothing else changed, so that all stages share what is built.
cargo() {
  if command -v mold >/dev/null; then mold -run cargo "$@"; else command cargo "$@"; fi
}
