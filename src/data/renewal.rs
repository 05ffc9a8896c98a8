//! Credentials that change while a store is open.

use crate::kernel::error::ReloadError;
use crate::settings::Settings;
use std::sync::Arc;
use tokio::sync::Notify;

/// How an open store takes new credentials.
pub struct Renewal {
    /// Settings with the credentials.
    pub keys: &'static [&'static str],
    /// Uses the credentials of these settings for new connections.
    pub apply: Arc<dyn Fn(&Settings) -> Result<(), ReloadError> + Send + Sync>,
    /// Notified when the server refuses the credentials in use, if Vault may have newer ones.
    pub refused: Option<Arc<Notify>>,
}
