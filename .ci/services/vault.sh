#!/usr/bin/env bash
# A real HashiCorp Vault in development mode on loopback: in memory, unsealed, a KV engine at secret/. It is
# compiled from the Go module, which takes 4 minutes of one core, once: the binary stays in CACHE_DIR.
# Vault's licence since 1.15 is BUSL-1.1: it allows tests, and CI distributes nothing of it.
# usage: vault.sh install|ready|start|stop|kill|status   (needs curl and ss; a go of any version to install it)
# environment: STATE_DIR CACHE_DIR VAULT_PORT; the root token is `root`, the unseal key in STATE_DIR/unseal
#   TLS=DIR: it accepts only https, with certificates that it generates; its authority is DIR/vault-ca.pem
set -euo pipefail
name=vault version=v1.21.4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
port=${VAULT_PORT:-8200}
binary=${CACHE_DIR:-$HOME/.cache/tradepost-ci}/vault-$version
state=${STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/tradepost-ci/vault}
log=$state/log
source "$here/process.sh"

ready() { [[ -x $binary ]]; }

install() {
  ready && return
  local go work
  go=$("$here/go.sh")
  mkdir -p "${binary%/*}"
  # one build at a time; do not wait for a hanging one
  exec 9>"$binary.lock"
  flock -w 1800 9
  ready && return
  work=$(mktemp -d)
  # `work` is out of scope when the trap runs
  # shellcheck disable=SC2064
  trap "chmod -R u+w '$work'; rm -rf '$work'" EXIT
  mkdir "$work/main"
  cd "$work/main"
  printf 'module local/vault\n\ngo 1.26\n\nrequire github.com/hashicorp/vault %s\n' "$version" >go.mod
  printf 'package main\n\nimport (\n\t"os"\n\n\t"github.com/hashicorp/vault/command"\n)\n\nfunc main() { os.Exit(command.Run(os.Args[1:])) }\n' >main.go
  again "$go" mod download "github.com/hashicorp/vault@$version"
  cp -r "$(GOFLAGS=-mod=mod "$go" list -m -f '{{.Dir}}' github.com/hashicorp/vault)" "$work/vault"
  again "$go" mod download github.com/hashicorp/go-discover
  cp -r "$(GOFLAGS=-mod=mod "$go" list -m -f '{{.Dir}}' github.com/hashicorp/go-discover)" "$work/discover"
  chmod -R u+w "$work/vault" "$work/discover"
  # the published sdk differs from the one in its repository: two signatures, at three calls
  sed -i 's/restoredKeyName, err := b.lm.RestorePolicy(/restoredKeyName := keyName\n\terr := b.lm.RestorePolicy(/' "$work/vault/builtin/logical/transit/path_restore.go"
  sed -i 's/ActivationFunc: iStore.activateDeduplication,/ActivationFunc: func(ctx context.Context, r *logical.Request, _ string) error { return iStore.activateDeduplication(ctx, r) },/' "$work/vault/vault/identity_store.go"
  sed -i 's/idStoreBackend.ActivationFunc(ctx, nil)/idStoreBackend.ActivationFunc(ctx, nil, "")/' "$work/vault/vault/logical_system_activation_flags.go"
  # Half of the code is cloud clients that tests do not use: peer discovery (ec2, ecs, Kubernetes, softlayer, vSphere),
  # Okta as a second factor, Google's logins of the agent. Remove them.
  sed -i '/go-discover\/provider\//d; /^\t"[a-z]*": *&[a-z]*\.Provider{},$/d' "$work/discover/discover.go"
  sed -i '/discoverk8s/d' "$work/vault/vault/raft.go"
  sed -i '/okta-sdk-golang/d; /^func (c \*Core) validateOkta(/,/^}/c func (c *Core) validateOkta(context.Context, *mfa.Config, string) error {\n\treturn errors.New("built without Okta")\n}\n\nvar _, _ = regexp.MustCompile, mapstructure.WeakDecode' "$work/vault/vault/login_mfa.go"
  sed -i '/agentproxyshared\/auth\/gcp"/d; /case "gcp":/,+1d' "$work/vault/command/agentproxyshared/helpers.go"
  printf 'replace github.com/hashicorp/vault => %s\nreplace github.com/hashicorp/go-discover => %s\n' "$work/vault" "$work/discover" >>go.mod
  CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=mod again nice -n 19 "$go" build -tags minimal -trimpath -ldflags '-s -w' -o "$binary.new" .
  cd /
  mv "$binary.new" "$binary"
}

start() {
  install
  alive && return
  port_is_free
  mkdir -p "$state/home"
  local url=http://127.0.0.1:$port tls=() trust=()
  if [[ -n ${TLS:-} ]]; then
    mkdir -p "$TLS"
    url=https://127.0.0.1:$port tls=(-dev-tls "-dev-tls-cert-dir=$TLS") trust=(--cacert "$TLS/vault-ca.pem")
  fi
  rm -f "$log" # otherwise the key of an earlier start would be read
  HOME=$state/home launch "$binary" server -dev -dev-no-store-token -dev-root-token-id=root "-dev-listen-address=127.0.0.1:$port" \
    "${tls[@]}" -log-level=warn
  until_it "$url" unsealed
  sed -n 's/^Unseal Key: //p' "$log" >"$state/unseal"
}

unsealed() { grep -q '^Unseal Key: ' "$log" && answers "$url/v1/sys/health" "${trust[@]}"; }

command_ready() { ready; }
"command_${1:-usage}"
