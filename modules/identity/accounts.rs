//! User accounts: the users of the settings, or the demo users if the settings name none.
//!
//! The demo users are for development: `admin` and `alice`, each with its name as password.

use super::realm::REALM;
use super::secrets::{self, HashedSecret};
use crate::settings::User;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keycloak's prefix: a service account's name is this and the client's id.
pub(super) const SERVICE_PREFIX: &str = "service-account-";

/// An invalid user in the settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    #[error("identity.users: `{}` is not a valid user name", name.escape_debug())]
    Name { name: String },
    #[error("identity.users: user `{name}` has no password")]
    NoPassword { name: String },
    #[error("identity.users: user `{name}` has the name of a service account ({SERVICE_PREFIX}...)")]
    ServiceAccount { name: String },
    #[error("identity.users: user `{name}` is listed twice; user names are case-insensitive")]
    Duplicate { name: String },
}

/// A user account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    /// `sub`; derived from the name, so it is stable.
    pub(super) subject: String,
    /// `preferred_username`.
    pub(super) username: String,
    /// `email`.
    pub(super) email: Option<String>,
    /// `realm_access.roles`.
    pub(super) roles: Vec<String>,
}

impl Account {
    /// Converts the name to lower case, as Keycloak does.
    pub(super) fn new(username: &str, email: Option<String>, roles: Vec<String>) -> Self {
        let username = username.to_lowercase();
        let digest: [u8; 32] = Sha256::digest(format!("{}:{username}", REALM)).into();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        let subject = uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string();
        Self { subject, username, email, roles }
    }
}

pub(super) struct Users {
    by_name: BTreeMap<String, (Arc<Account>, HashedSecret)>,
    /// Compared for unknown names, so that they take as long as a wrong password.
    dummy_password: HashedSecret,
    is_demo: bool,
}

impl Users {
    pub(super) fn new(configured: &[User]) -> Result<Self, UserError> {
        let mut users =
            Self { by_name: BTreeMap::new(), dummy_password: HashedSecret::new(&secrets::random_secret()), is_demo: configured.is_empty() };
        if configured.is_empty() {
            users.add(Account::new("admin", Some("admin@example.com".into()), vec!["admin".into(), "customer".into()]), "admin");
            users.add(Account::new("alice", Some("alice@example.com".into()), vec!["customer".into()]), "alice");
        }
        for user in configured {
            let name = user.username.as_str();
            if name.is_empty() || name.trim() != name || name.chars().any(char::is_control) {
                return Err(UserError::Name { name: name.into() });
            }
            if user.password.expose().is_empty() {
                return Err(UserError::NoPassword { name: name.into() });
            }
            let account = Account::new(name, user.email.clone(), user.roles.clone());
            if account.username.starts_with(SERVICE_PREFIX) {
                return Err(UserError::ServiceAccount { name: name.into() });
            }
            if users.by_name.contains_key(&account.username) {
                return Err(UserError::Duplicate { name: name.into() });
            }
            users.add(account, user.password.expose());
        }
        Ok(users)
    }

    fn add(&mut self, account: Account, password: &str) {
        self.by_name.insert(account.username.clone(), (Arc::new(account), HashedSecret::new(password)));
    }

    /// The user with this name and password. An unknown name takes as long as a wrong password.
    pub(super) fn check(&self, username: &str, password: &str) -> Option<Arc<Account>> {
        let found = self.by_name.get(username);
        let matches = found.map_or(&self.dummy_password, |(_, hashed)| hashed).matches(password);
        found.filter(|_| matches).map(|(account, _)| account.clone())
    }

    /// The user with this `sub`.
    pub(super) fn by_subject(&self, subject: &str) -> Option<Arc<Account>> {
        self.by_name.values().map(|(account, _)| account).find(|account| account.subject == subject).cloned()
    }

    /// Names and roles of the demo users; empty if the settings name users.
    pub(super) fn demo_users(&self) -> Vec<(String, String)> {
        let name_and_roles = |account: &Arc<Account>| (account.username.clone(), account.roles.join(", "));
        if self.is_demo { self.by_name.values().map(|(account, _)| name_and_roles(account)).collect() } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::secret::Secret;

    #[test]
    fn users_from_settings_have_stable_subjects_and_invalid_ones_are_rejected() {
        let user = |name: &str, password: &str| User {
            username: name.into(),
            password: Secret::new(password),
            email: None,
            roles: vec!["customer".into()],
        };
        let demo = Users::new(&[]).unwrap();
        let alice = demo.check("alice", "alice").unwrap();
        assert_eq!(Account::new("Alice", None, vec![]).subject, alice.subject);
        assert_eq!(alice.subject.len(), 36);
        assert_eq!(demo.by_subject(&alice.subject), Some(alice));
        assert!(demo.check("alice", "Alice").is_none() && demo.check("unknown", "").is_none());
        assert_eq!(demo.demo_users(), [("admin".into(), "admin, customer".into()), ("alice".into(), "customer".into())]);

        let own = Users::new(&[user("Bob", "secret")]).unwrap();
        assert!(own.check("bob", "secret").is_some() && own.check("admin", "admin").is_none() && own.demo_users().is_empty());
        for (users, expected) in [
            (vec![user("bob", "a"), user("BOB", "b")], "twice"),
            (vec![user("bob", "")], "no password"),
            (vec![user(" ", "a")], "not a valid user name"),
            (vec![user("service-account-x", "a")], "service account"),
        ] {
            let error = Users::new(&users).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
