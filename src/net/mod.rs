//! Connections to other servers: TLS, the HTTP client, server lists, Vault.

pub mod http;
pub mod server_list;
pub mod tls;
#[cfg(feature = "vault")]
pub mod vault;
