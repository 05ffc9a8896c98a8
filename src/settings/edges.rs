//! What can be set of the modules at the shop's edges: the issuer, the registry, the gateway, config servers.

use crate::kernel::secret::Secret;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `identity.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Issuer of access tokens, e.g. a Keycloak realm's URL; none means the built-in one.
    pub issuer: Option<String>,
    /// Where services reach the issuer for keys and tokens, where that is not its URL: the same in the place
    /// of `issuer`, several by comma of which each can stand in for the others.
    pub backchannel: Option<String>,
    /// What tokens must name in `aud`.
    pub audience: String,
    /// Clients whose tokens are taken (`azp`), beside our own; none means every client whose tokens name the audience.
    pub authorized_parties: Vec<String>,
    /// Our own client, for calls between services.
    pub client_id: String,
    /// Its secret; with the built-in issuer one is made at first start.
    pub client_secret: Option<Secret>,
    /// Run the built-in issuer outside development.
    pub force: bool,
    /// Life of an access token of the built-in issuer, in seconds.
    pub access_seconds: u64,
    /// Life of a refresh token of the built-in issuer, in seconds.
    pub refresh_seconds: u64,
    /// Users of the built-in issuer; none means the demo users.
    pub users: Vec<User>,
    /// Further clients of the built-in issuer.
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
            force: false,
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
    /// Login name.
    pub username: String,
    /// Password.
    pub password: Secret,
    /// Address for mail.
    pub email: Option<String>,
    /// Realm roles: `customer`, `admin`.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// A client of the built-in issuer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Client {
    /// Client id.
    pub id: String,
    /// Its secret; none makes it a public client, which must use PKCE.
    pub secret: Option<Secret>,
    /// Exact redirect URIs; one that ends with `*` matches by prefix on loopback only.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Realm roles of its service account; none means it has no service account.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// `registry.*`: where this process registers and finds its peers, and how the registry module keeps them.
///
/// All are quicker than Eureka's own (renewal 30 s, lease 90 s, fetch 30 s, sweep 60 s, and answers
/// cached for 30 s, which ours never are).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Registry {
    /// Eureka base, e.g. `http://user:password@127.0.0.1:8761/eureka`; several by comma. None: no registry is used.
    pub url: Option<Secret>,
    /// Name or address under which others reach this process; by default `server.host` or, where that
    /// is any address, the one that leads to the registry.
    pub host: Option<String>,
    /// Zone that our instances name in their metadata.
    pub zone: Option<String>,
    /// Time between two renewals of our registration, in seconds.
    pub renew_seconds: u64,
    /// Our registration ends so long after its last renewal, in seconds.
    pub lease_seconds: u64,
    /// Time between two looks at what has changed, in seconds.
    pub fetch_seconds: u64,
    /// Registry module: user of its clients and its page.
    pub user: String,
    /// Registry module: their password; without one, that of the first start, in `{data.dir}/registry/password`.
    pub password: Option<Secret>,
    /// Registry module: whether reading needs no credentials.
    pub open_reads: bool,
    /// Registry module: time between two looks for leases that have ended, in seconds.
    pub sweep_seconds: u64,
    /// Registry module: how long deltas show a change, in seconds. Clients must fetch more often.
    pub delta_seconds: u64,
    /// Registry module: evict nobody while too many renewals are missing, as when the network fails.
    pub self_preservation: bool,
    /// Registry module: part of the expected renewals at or below which too many are missing; and the
    /// part of all instances that stays through one sweep.
    pub renewal_threshold: f64,
    /// Registry module: other registries that hear what this one hears, in the form of `registry.url`;
    /// without credentials there, our own are sent.
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
            sweep_seconds: 5,
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
    /// Route file in Spring Cloud Gateway's form; none means the built-in routes of the shop.
    pub routes: Option<PathBuf>,
    /// Path patterns that need no token here; a service behind may still ask for one.
    pub public: Vec<String>,
    /// Proxies in front of us, as address ranges: what they say of the client is believed.
    pub trusted_proxies: Vec<String>,
    /// Open `/actuator/gateway` to administrators.
    pub actuator: bool,
    /// Serve `/{serviceId}/**` for every service that is registered.
    pub locator: bool,
    /// Where `/eureka/web` leads, with the page's path there.
    pub dashboard: String,
    /// Largest body of a routed request, in bytes; none means `server.body_limit`.
    pub body_limit: Option<u64>,
    /// How long connecting to an instance may take, in milliseconds.
    pub connect_ms: u64,
    /// Requests a second for each user, or address where no token is needed; 0 for no limit.
    pub rate: u32,
    /// Requests at once before `rate` counts; 0 means twice the rate.
    pub burst: u32,
    /// Take HTTP/2 from clients that begin with it (prior knowledge); over TLS it is always
    /// agreed on where the client offers it.
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
            locator: false,
            dashboard: "lb://registry/".into(),
            body_limit: None,
            connect_ms: 1000,
            rate: 0,
            burst: 0,
            http2: true,
        }
    }
}

/// `config.*`: the config server that gives this process its settings, ours or Spring's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigClient {
    /// Its address, e.g. `http://user:password@127.0.0.1:8888`; several by comma. None: no config server is asked.
    pub server: Option<Secret>,
    /// Whose settings to ask for; by default the module's application, such as `order-service`, and
    /// `tradepost` where several modules run here.
    pub name: Option<String>,
    /// Profiles, by comma; the last one wins.
    pub profile: String,
    /// Label: a branch, a tag or a commit; none means the server's default.
    pub label: Option<String>,
    /// Refuse to start without it; else start with what else there is, and say so.
    pub fail_fast: bool,
    /// How long a config server that is away is waited for, in seconds.
    pub retry_seconds: u64,
}

impl Default for ConfigClient {
    fn default() -> Self {
        Self { server: None, name: None, profile: "default".into(), label: None, fail_fast: true, retry_seconds: 10 }
    }
}

/// `config_server.*`: what the config-server module hands out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigServer {
    /// Folder of settings files; by default `./config`, where it is there.
    pub folder: Option<PathBuf>,
    /// Git repository instead of a folder: a path, or an address, with `user:password@` where it asks for them.
    pub git: Option<Secret>,
    /// Mount of a KV engine (version 2) instead, in the Vault at `vault.url`.
    pub vault: Option<String>,
    /// Branch, tag or commit for clients that name none; where there is no `main`, `master` stands in.
    pub label: String,
    /// Folders within that are looked into, too; `{application}`, `{profile}` and `{label}` are filled in.
    pub search_paths: Vec<String>,
    /// A repository elsewhere is fetched when its copy is older, in seconds.
    pub refresh_seconds: u64,
    /// User of its clients.
    pub user: String,
    /// Their password; without one, that of the first start, in `{data.dir}/config-server/password`.
    pub password: Option<Secret>,
    /// Key for `{cipher}` values: what Spring's server has as `encrypt.key`. Needs the feature `config-cipher`.
    pub encrypt_key: Option<Secret>,
    /// Its salt in hexadecimal: Spring's `encrypt.salt`.
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
