# One server for one machine: what it keeps is encrypted in a volume, and its network is of this machine alone.
storage "raft" {
  path    = "/vault/file"
  node_id = "vault"
}

listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}

api_addr      = "http://vault:8200"
cluster_addr  = "http://127.0.0.1:8201"
disable_mlock = true
