//! A Vault as the place where settings are, as the real server has it: a secret of the KV engine for each
//! application and profile, `basket` and `basket,prod`, beside `application` for all.
//!
//! Source: spring-cloud-config `AbstractVaultEnvironmentRepository`; the answers were compared with the real
//! server's.

use super::document::{self, Flat};
use super::request::Wanted;
use crate::kernel::problem::Problem;
use crate::kernel::secret::Secret;
use crate::net::vault::Vault;
use actix_web::HttpRequest;

/// The key that all applications share: Spring's `defaultKey`.
const SHARED: &str = "application";
/// Between application and profile: Spring's `profileSeparator`.
const SEPARATOR: &str = ",";
/// Where a client sends the token to read with.
const TOKEN: &str = "x-config-token";

/// Secrets of one mount.
pub(super) struct Keys {
    pub(super) vault: Vault,
    pub(super) mount: String,
}

/// The token that a client wants its settings read with, instead of the server's own.
pub(super) fn sent_token(request: &HttpRequest) -> Result<Option<Secret>, Problem> {
    let Some(value) = request.headers().get(TOKEN) else { return Ok(None) };
    let token = value.to_str().ok().filter(|token| !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic()));
    token.map(|token| Some(Secret::new(token))).ok_or_else(|| Problem::new(400, "X-Config-Token: expected a token of Vault's"))
}

/// The strongest first: the last profile, then the last application.
fn keys(wanted: &Wanted) -> Vec<String> {
    let listed = |shared: &str, items: Vec<&str>| {
        let mut all = vec![shared.to_string()];
        for item in items {
            if !all.iter().any(|other| other == item) {
                all.push(item.to_string());
            }
        }
        all.reverse();
        all
    };
    let applications = listed(SHARED, wanted.names().collect());
    let profiles = listed("default", wanted.profiles.iter().map(String::as_str).collect());
    let key = |application: &String, profile: &String| match profile.as_str() {
        "default" => application.clone(),
        other => format!("{application}{SEPARATOR}{other}"),
    };
    profiles.iter().flat_map(|profile| applications.iter().map(move |application| key(application, profile))).collect()
}

impl Keys {
    /// The name and the settings of each that is there, the strongest first.
    pub(super) async fn find(&self, wanted: &Wanted) -> Result<Vec<(String, Flat)>, Problem> {
        let mut found = Vec::new();
        for key in keys(wanted) {
            let token = wanted.token.as_ref().map(|token| token.expose().to_string());
            let theirs = token.is_some();
            let secrets = self.vault.read(&self.mount, &key, token).await.map_err(|cause| {
                let refused = match cause.away || !theirs {
                    true => Problem::unavailable(format!("{key} cannot be read from Vault right now")),
                    false => Problem::forbidden(format!("Vault refuses {key} to the token in X-Config-Token")),
                };
                refused.with_cause(format!("{key} cannot be read from Vault: {cause}"))
            })?;
            if let Some(secrets) = secrets.filter(|secrets| !secrets.is_empty()) {
                found.push((format!("vault:{key}"), document::of_json(secrets).map_err(Problem::internal)?));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_profile_and_the_last_application_come_first() {
        let asked = |name: &str, profiles: &str| keys(&Wanted::new(name, profiles, None).unwrap());
        assert_eq!(asked("basket", "default"), ["basket", "application"]);
        assert_eq!(
            asked("a,b", "prod,eu"),
            ["b,eu", "a,eu", "application,eu", "b,prod", "a,prod", "application,prod", "b", "a", "application"]
        );
        assert_eq!(asked("application", "prod"), ["application,prod", "application"]);
    }
}
