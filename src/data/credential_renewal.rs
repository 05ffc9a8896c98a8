//! Renewal of a store's credentials while it is open.

use crate::settings::ApplySettings;
use std::sync::Arc;
use tokio::sync::Notify;

/// How to give an open store new credentials.
pub struct CredentialRenewal {
    /// Keys of the settings that hold the credentials.
    pub keys: &'static [&'static str],
    /// Applies the credentials of these settings to new connections.
    pub apply: ApplySettings,
    /// Notified when the server refuses the current credentials; `Some` if Vault may have newer ones.
    pub auth_failure_signal: Option<Arc<Notify>>,
}
