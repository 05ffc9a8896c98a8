# One server for one machine: what it keeps is encrypted in a volume, and its network is of this machine alone.
storage "file" {
  path = "/vault/file"
}

listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}

disable_mlock = true
