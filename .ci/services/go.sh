#!/usr/bin/env bash
# Prints the path of a go that is recent enough for CI's builds. An older one, such as Debian's, fetches it: Go's
# releases are modules too.
# usage: go.sh
set -euo pipefail
toolchain=go1.26.8
source "$(dirname "${BASH_SOURCE[0]}")/../install.sh"

go=go
command -v go >/dev/null || go=/usr/local/go/bin/go
if ! command -v "$go" >/dev/null; then
  apt_install golang-go
  go=go
fi
found=$(GOTOOLCHAIN=local "$go" env GOVERSION)
if [[ $(printf '%s\n' go1.26 "$found" | sort -V | head -1) != go1.26 ]]; then
  cd "$(mktemp -d)"
  printf 'module local/fetch\n' >go.mod
  dir=$(GOFLAGS=-mod=mod again "$go" mod download -json "golang.org/toolchain@v0.0.1-$toolchain.linux-$("$go" env GOARCH)" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  rm go.mod
  [[ -d $dir ]] || { echo "$toolchain cannot be fetched" >&2; exit 1; }
  # files of a module are not executable
  chmod +x "$dir"/bin/* "$dir"/pkg/tool/*/*
  go=$dir/bin/go
fi
command -v "$go"
