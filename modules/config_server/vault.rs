//! The Vault backend, as in Spring's server: one secret of the KV engine per application and profile (`basket`,
//! `basket,prod`), and `application` for all.
//!
//! Source: spring-cloud-config `AbstractVaultEnvironmentRepository`; the responses are verified
//! against Spring's server.

use super::document::{self, FlatProperties};
use super::request::ConfigRequest;
use crate::kernel::problem::Problem;
use crate::kernel::secret::Secret;
use crate::net::vault::Vault;
use actix_web::HttpRequest;

/// Spring's `defaultKey`, the secret that all applications share.
const DEFAULT_KEY: &str = "application";
/// Spring's `profileSeparator`.
const SEPARATOR: &str = ",";
/// Header with the client's own Vault token.
const TOKEN_HEADER: &str = "x-config-token";

pub(super) struct VaultBackend {
    pub(super) vault: Vault,
    pub(super) mount: String,
}

/// The client's token, which replaces the server's own.
pub(super) fn client_token(request: &HttpRequest) -> Result<Option<Secret>, Problem> {
    let Some(value) = request.headers().get(TOKEN_HEADER) else { return Ok(None) };
    let token = value.to_str().ok().filter(|token| !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic()));
    token.map(|token| Some(Secret::new(token))).ok_or_else(|| Problem::new(400, "X-Config-Token: expected a Vault token"))
}

/// Highest precedence first: by last profile, then by last application.
fn secret_names(request: &ConfigRequest) -> Vec<String> {
    let with_default = |default: &str, items: Vec<&str>| {
        let mut all = vec![default.to_string()];
        for item in items {
            if !all.iter().any(|other| other == item) {
                all.push(item.to_string());
            }
        }
        all.reverse();
        all
    };
    let applications = with_default(DEFAULT_KEY, request.names().collect());
    let profiles = with_default("default", request.profiles.iter().map(String::as_str).collect());
    let key = |application: &String, profile: &String| match profile.as_str() {
        "default" => application.clone(),
        other => format!("{application}{SEPARATOR}{other}"),
    };
    profiles.iter().flat_map(|profile| applications.iter().map(move |application| key(application, profile))).collect()
}

impl VaultBackend {
    /// Name and settings of each existing secret, highest precedence first.
    pub(super) async fn find(&self, request: &ConfigRequest) -> Result<Vec<(String, FlatProperties)>, Problem> {
        let mut found = Vec::new();
        for key in secret_names(request) {
            let token = request.token.as_ref().map(|token| token.expose().to_string());
            let is_client_token = token.is_some();
            let secrets = self.vault.read(&self.mount, &key, token).await.map_err(|cause| {
                let problem = match cause.is_transient || !is_client_token {
                    true => Problem::unavailable(format!("{key} cannot be read from Vault right now")),
                    false => Problem::forbidden(format!("Vault refuses {key} to the token in X-Config-Token")),
                };
                problem.with_cause(format!("{key} cannot be read from Vault: {cause}"))
            })?;
            if let Some(secrets) = secrets.filter(|secrets| !secrets.is_empty()) {
                found.push((format!("vault:{key}"), document::from_json(secrets).map_err(Problem::internal)?));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_names_order_last_profile_and_application_first() {
        let names = |name: &str, profiles: &str| secret_names(&ConfigRequest::new(name, profiles, None).unwrap());
        assert_eq!(names("basket", "default"), ["basket", "application"]);
        assert_eq!(
            names("a,b", "prod,eu"),
            ["b,eu", "a,eu", "application,eu", "b,prod", "a,prod", "application,prod", "b", "a", "application"]
        );
        assert_eq!(names("application", "prod"), ["application,prod", "application"]);
    }
}
