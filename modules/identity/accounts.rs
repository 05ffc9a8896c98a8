//! Who can be named in a token: the users of the settings, or the demo users where there are none.
//!
//! The demo users are for a desk, not for a shop: `admin` and `alice`, each with its name as password.

use super::realm::REALM;
use super::secrets::{self, HashedSecret};
use crate::settings::User;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What Keycloak puts before a client's id to name its service account.
pub(super) const SERVICE_PREFIX: &str = "service-account-";

/// A user that the settings name and that cannot be.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    #[error("identity.users: `{}` is no user name", name.escape_debug())]
    Name { name: String },
    #[error("identity.users: user `{name}` has no password")]
    NoPassword { name: String },
    #[error("identity.users: user `{name}` has the name of a service account ({SERVICE_PREFIX}...)")]
    ServiceAccount { name: String },
    #[error("identity.users: user `{name}` is there twice; upper and lower case count as the same")]
    Twice { name: String },
}

/// Somebody whom a token can name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    /// `sub`: always the same for the same name.
    pub(super) subject: String,
    /// `preferred_username`.
    pub(super) username: String,
    /// `email`.
    pub(super) email: Option<String>,
    /// `realm_access.roles`.
    pub(super) roles: Vec<String>,
}

impl Account {
    /// Of this name, which is taken in lower case as Keycloak does.
    pub(super) fn new(username: &str, email: Option<String>, roles: Vec<String>) -> Self {
        let username = username.to_lowercase();
        let digest: [u8; 32] = Sha256::digest(format!("{}:{username}", REALM)).into();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        let subject = uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string();
        Self { subject, username, email, roles }
    }
}

/// The users.
pub(super) struct Users {
    by_name: BTreeMap<String, (Arc<Account>, HashedSecret)>,
    nobody: HashedSecret,
    demo: bool,
}

impl Users {
    /// Of the settings; the error names what cannot be.
    pub(super) fn new(configured: &[User]) -> Result<Self, UserError> {
        let mut users = Self { by_name: BTreeMap::new(), nobody: HashedSecret::new(&secrets::random()), demo: configured.is_empty() };
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
                return Err(UserError::Twice { name: name.into() });
            }
            users.add(account, user.password.expose());
        }
        Ok(users)
    }

    fn add(&mut self, account: Account, password: &str) {
        self.by_name.insert(account.username.clone(), (Arc::new(account), HashedSecret::new(password)));
    }

    /// The user of this name and password. An unknown name takes as long as a wrong password.
    pub(super) fn check(&self, username: &str, password: &str) -> Option<Arc<Account>> {
        let found = self.by_name.get(username);
        let right = found.map_or(&self.nobody, |(_, hashed)| hashed).is(password);
        found.filter(|_| right).map(|(account, _)| account.clone())
    }

    /// The user with this `sub`.
    pub(super) fn by_subject(&self, subject: &str) -> Option<Arc<Account>> {
        self.by_name.values().map(|(account, _)| account).find(|account| account.subject == subject).cloned()
    }

    /// Names and roles of the demo users; empty where the settings name users.
    pub(super) fn demo(&self) -> Vec<(String, String)> {
        let shown = |account: &Arc<Account>| (account.username.clone(), account.roles.join(", "));
        if self.demo { self.by_name.values().map(|(account, _)| shown(account)).collect() } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::secret::Secret;

    #[test]
    fn a_name_has_one_subject_and_mistakes_are_named() {
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
        assert!(demo.check("alice", "Alice").is_none() && demo.check("nobody", "").is_none());
        assert_eq!(demo.demo(), [("admin".into(), "admin, customer".into()), ("alice".into(), "customer".into())]);

        let own = Users::new(&[user("Bob", "secret")]).unwrap();
        assert!(own.check("bob", "secret").is_some() && own.check("admin", "admin").is_none() && own.demo().is_empty());
        for (users, says) in [
            (vec![user("bob", "a"), user("BOB", "b")], "twice"),
            (vec![user("bob", "")], "no password"),
            (vec![user(" ", "a")], "no user name"),
            (vec![user("service-account-x", "a")], "service account"),
        ] {
            let refused = Users::new(&users).err().unwrap().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
