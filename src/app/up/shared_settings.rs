//! Addresses and secrets that the processes of a split shop share, and each process's settings made of them.

use crate::kernel::module::Module;

pub(super) struct SharedSettings {
    scheme: &'static str,
    gateway_urls: Vec<String>,
    issuer: String,
    backchannel: String,
    registries: Vec<String>,
    /// Empty until the registry has generated it.
    pub(super) registry_password: String,
    /// Empty until identity has generated it.
    pub(super) client_secret: String,
}

impl SharedSettings {
    pub(super) fn new(scheme: &'static str, gateway_urls: &[String], registry_ports: &[u16], issuer_ports: &[u16]) -> Self {
        const REALM: &str = "realms/spring-cloud-microservices-realm";
        let local = |port: &u16| format!("127.0.0.1:{port}");
        Self {
            scheme,
            gateway_urls: gateway_urls.to_vec(),
            issuer: format!("{}/{REALM}", gateway_urls.first().map(String::as_str).unwrap_or_default()),
            backchannel: issuer_ports.iter().map(|port| format!("{scheme}://{}/{REALM}", local(port))).collect::<Vec<_>>().join(","),
            registries: registry_ports.iter().map(local).collect(),
            registry_password: String::new(),
            client_secret: String::new(),
        }
    }

    /// Environment variables of one process. A registry has the other registries as peers, but not itself.
    pub(super) fn environment(&self, module: Module, number: Option<usize>) -> Vec<(&'static str, String)> {
        let scheme = self.scheme;
        let eureka_url = |address: &String, user: &str| format!("{scheme}://{user}{address}/eureka");
        let mut variables = vec![
            ("TRADEPOST__SERVER__EXIT_ON_STDIN_EOF", "true".into()),
            ("TRADEPOST__SERVER__WORKERS", "1".into()),
            // with so few instances, one dead instance alone triggers self-preservation and is never evicted
            ("TRADEPOST__REGISTRY__SELF_PRESERVATION", "false".into()),
        ];
        if module == Module::Identity {
            variables.push(("TRADEPOST__SERVER__PUBLIC_URL", self.gateway_urls.first().cloned().unwrap_or_default()));
        } else {
            variables.push(("TRADEPOST__IDENTITY__ISSUER", self.issuer.clone()));
            variables.push(("TRADEPOST__IDENTITY__BACKCHANNEL", self.backchannel.clone()));
        }
        if module == Module::Gateway {
            // the registry does not register itself: the gateway needs the address of the registry's page
            let index = number.map_or(0, |number| number - 1);
            let address = self.registries.get(index);
            variables.extend(address.map(|address| ("TRADEPOST__PEERS__REGISTRY", format!("{scheme}://{address}"))));
        }
        if module == Module::Registry {
            let others = self.registries.iter().enumerate().filter(|(n, _)| number.is_some_and(|number| number != n + 1));
            let others: Vec<String> = others.map(|(_, address)| eureka_url(address, "")).collect();
            if !others.is_empty() {
                variables.push(("TRADEPOST__REGISTRY__PEERS", others.join(",")));
            }
        } else {
            let user = format!("tradepost:{}@", self.registry_password);
            let urls: Vec<String> = self.registries.iter().map(|address| eureka_url(address, &user)).collect();
            variables.push(("TRADEPOST__REGISTRY__URL", urls.join(",")));
        }
        if !self.client_secret.is_empty() {
            variables.push(("TRADEPOST__IDENTITY__CLIENT_SECRET", self.client_secret.clone()));
        }
        variables
    }

    pub(super) fn scheme(&self) -> &'static str {
        self.scheme
    }
}
