# One server for one machine: its data is encrypted in a volume, and its network is local to this machine.
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
