//! Settings of infrastructure modules: identity, registry, gateway, config server.

use crate::kernel::secret::Secret;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `identity.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Issuer of access tokens, e.g. the URL of a Keycloak realm; by default the built-in issuer.
    pub issuer: Option<String>,
    /// Internal URL of the issuer for key and token requests, if it differs from `issuer`; several URLs separated by
    /// commas are used for failover.
    pub backchannel: Option<String>,
    /// Required value of the `aud` claim.
    pub audience: String,
    /// Accepted values of the `azp` claim, besides `client_id`; empty accepts every client.
    pub authorized_parties: Vec<String>,
    /// OAuth client of this process, for calls between services.
    pub client_id: String,
    /// Secret of `client_id`; the built-in issuer generates one at the first start.
    pub client_secret: Option<Secret>,
    /// Allow the built-in issuer in the production profile.
    pub allow_in_production: bool,
    /// Lifetime of the built-in issuer's access tokens, in seconds.
    pub access_seconds: u64,
    /// Lifetime of the built-in issuer's refresh tokens, in seconds.
    pub refresh_seconds: u64,
    /// Users of the built-in issuer; empty means the demo users.
    pub users: Vec<User>,
    /// Additional clients of the built-in issuer.
    pub clients: Vec<Client>,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            issuer: None,
            backchannel: None,
            audience: "tradepost".into(),
            authorized_parties: Vec::new(),
            client_id: "tradepost-service".into(),
            client_secret: None,
            allow_in_production: false,
            access_seconds: 1800,
            refresh_seconds: 36_000,
            users: Vec::new(),
            clients: Vec::new(),
        }
    }
}

/// A user of the built-in issuer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    pub username: String,
    pub password: Secret,
    pub email: Option<String>,
    /// Realm roles: `customer`, `admin`.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// A client of the built-in issuer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Client {
    pub id: String,
    /// Without a secret the client is public and must use PKCE.
    pub secret: Option<Secret>,
    /// Exact redirect URIs; a URI that ends with `*` matches by prefix, on loopback only.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Realm roles of the client's service account; empty means no service account.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// `registry.*`: the registry client of this process, and the registry module.
///
/// The defaults are shorter than Eureka's (renewal 30 s, lease 90 s, fetch 30 s, eviction 60 s). Eureka also caches
/// responses for 30 s; the registry module does not.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Registry {
    /// Eureka base URL, e.g. `http://user:password@127.0.0.1:8761/eureka`; several separated by commas. Without it, no
    /// registry is used.
    pub url: Option<Secret>,
    /// Host name or address that this process registers; by default `server.host` or, if that is a wildcard address, the
    /// local address of the route to the registry.
    pub host: Option<String>,
    /// Zone in the metadata of registered instances.
    pub zone: Option<String>,
    /// Interval of lease renewals, in seconds.
    pub renew_seconds: u64,
    /// Lease duration: the registration expires this long after its last renewal, in seconds.
    pub lease_seconds: u64,
    /// Interval of fetching registry changes, in seconds.
    pub fetch_seconds: u64,
    /// Registry module: user name for clients and for the status page.
    pub user: String,
    /// Registry module: password; by default generated at the first start, in `{data.dir}/registry/password`.
    pub password: Option<Secret>,
    /// Registry module: allow reads without credentials.
    pub open_reads: bool,
    /// Registry module: interval of evicting expired leases, in seconds.
    pub eviction_interval_seconds: u64,
    /// Registry module: how long deltas contain a change, in seconds. Clients must fetch more often.
    pub delta_seconds: u64,
    /// Registry module: evict no instance while too many renewals are missing, e.g. during a network failure.
    pub self_preservation: bool,
    /// Registry module: fraction of expected renewals at or below which self-preservation starts; also the fraction of
    /// instances that one eviction run keeps.
    pub renewal_threshold: f64,
    /// Registry module: peer registries to replicate to, in the form of `registry.url`. Without credentials in a URL,
    /// `user` and `password` are sent.
    pub peers: Option<Secret>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            url: None,
            host: None,
            zone: None,
            renew_seconds: 5,
            lease_seconds: 15,
            fetch_seconds: 2,
            user: "tradepost".into(),
            password: None,
            open_reads: true,
            eviction_interval_seconds: 5,
            delta_seconds: 180,
            self_preservation: true,
            renewal_threshold: 0.85,
            peers: None,
        }
    }
}

/// `gateway.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Gateway {
    /// Route file in Spring Cloud Gateway's format; by default the built-in routes.
    pub routes: Option<PathBuf>,
    /// Path patterns without token check at the gateway; the target service may still require a token.
    pub public: Vec<String>,
    /// Address ranges of proxies in front of the gateway, to trust forwarding headers from.
    pub trusted_proxies: Vec<String>,
    /// Serve `/actuator/gateway` to administrators.
    pub actuator: bool,
    /// Route `/{serviceId}/**` to every registered service.
    pub discovery_locator: bool,
    /// Target of `/eureka/web`, with the page's path.
    pub dashboard: String,
    /// Maximum body size of a routed request, in bytes; by default `server.body_limit`.
    pub body_limit: Option<u64>,
    /// Timeout of connecting to an instance, in milliseconds.
    pub connect_ms: u64,
    /// Requests per second per user, or per address if no token is required; 0 for no limit.
    pub rate: u32,
    /// Burst size of the rate limit, in requests; 0 means twice the rate.
    pub burst: u32,
    /// Accept HTTP/2 without TLS (prior knowledge). Over TLS, HTTP/2 is always negotiated by ALPN.
    pub http2: bool,
}

impl Default for Gateway {
    fn default() -> Self {
        let public = [
            "/realms/**",
            "/eureka/web",
            "/actuator/health/**",
            "/actuator/info",
            "/v3/api-docs/**",
            "/swagger-ui/**",
            "/console/traces/**",
            "/console/traces.json",
        ];
        Self {
            routes: None,
            public: public.map(String::from).to_vec(),
            trusted_proxies: Vec::new(),
            actuator: false,
            discovery_locator: false,
            dashboard: "lb://registry/".into(),
            body_limit: None,
            connect_ms: 1000,
            rate: 0,
            burst: 0,
            http2: true,
        }
    }
}

/// `config.*`: the client of a config server, the config-server module or Spring's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigClient {
    /// URL, e.g. `http://user:password@127.0.0.1:8888`; several separated by commas. Without it, no config server is used.
    pub server: Option<Secret>,
    /// Application to request; by default the module's application, e.g. `order-service`, or `tradepost` if the process
    /// runs several modules.
    pub name: Option<String>,
    /// Profiles, separated by commas; the last one wins.
    pub profile: String,
    /// Branch, tag or commit; by default the server's default label.
    pub label: Option<String>,
    /// Stop the start if the config server is unreachable; if false, start without it and print a warning.
    pub fail_fast: bool,
    /// How long the start waits for an unreachable config server, in seconds.
    pub retry_seconds: u64,
}

impl Default for ConfigClient {
    fn default() -> Self {
        Self { server: None, name: None, profile: "default".into(), label: None, fail_fast: true, retry_seconds: 10 }
    }
}

/// `config_server.*`: the config-server module.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigServer {
    /// Folder of settings files; by default `./config` if it exists.
    pub folder: Option<PathBuf>,
    /// Git repository instead of a folder: a path, or a URL, optionally with `user:password@`.
    pub git: Option<Secret>,
    /// Vault instead of a folder: mount of a KV engine (version 2) in the Vault at `vault.url`.
    pub vault: Option<String>,
    /// Default label: branch, tag or commit. If `main` does not exist, `master` is used.
    pub label: String,
    /// Additional folders to search, relative to the root; `{application}`, `{profile}` and `{label}` are replaced.
    pub search_paths: Vec<String>,
    /// Maximum age of the local copy of a remote repository before it is fetched again, in seconds.
    pub refresh_seconds: u64,
    /// User name of clients.
    pub user: String,
    /// Password of clients; by default generated at the first start, in `{data.dir}/config-server/password`.
    pub password: Option<Secret>,
    /// Key of `{cipher}` values, Spring's `encrypt.key`. Needs the feature `config-cipher`.
    pub encrypt_key: Option<Secret>,
    /// Salt in hexadecimal, Spring's `encrypt.salt`.
    pub encrypt_salt: String,
}

impl Default for ConfigServer {
    fn default() -> Self {
        Self {
            folder: None,
            git: None,
            vault: None,
            label: "main".into(),
            search_paths: Vec::new(),
            refresh_seconds: 5,
            user: "tradepost".into(),
            password: None,
            encrypt_key: None,
            encrypt_salt: "deadbeef".into(),
        }
    }
}
