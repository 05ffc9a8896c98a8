//! The receivers that settings name.

use super::attempt::Outcome;
use super::{mail, webhook};
use crate::kernel::error::ComponentError;
use crate::modules::notification::store::{Channel, Due};
use crate::settings::Notification;

/// Settings of receivers that cannot work.
#[derive(Debug, thiserror::Error)]
pub(in crate::modules::notification) enum ReceiversError {
    #[error(transparent)]
    Mail(#[from] mail::MailSettingsError),
    #[error("notification.webhooks[{index}]: {source}")]
    Webhook { index: usize, source: webhook::WebhookError },
    #[error("notification.webhooks[{index}]: has the address of webhooks[{first}], credentials and query aside")]
    SameAddress { index: usize, first: usize },
}

impl ComponentError for ReceiversError {}

/// All receivers that settings name, checked at start.
pub(in crate::modules::notification) struct Receivers {
    mail: Option<mail::Mailer>,
    webhooks: Vec<webhook::Webhook>,
}

impl Receivers {
    /// From settings; what cannot work is refused here rather than at the first event.
    pub(in crate::modules::notification) fn new(settings: &Notification) -> Result<Self, ReceiversError> {
        let mail = settings.smtp.as_ref().map(|url| mail::Mailer::new(url, &settings.from)).transpose()?;
        let mut webhooks: Vec<webhook::Webhook> = Vec::new();
        for (index, settings) in settings.webhooks.iter().enumerate() {
            let new = webhook::Webhook::new(settings).map_err(|source| ReceiversError::Webhook { index, source })?;
            if let Some(first) = webhooks.iter().position(|other| other.target() == new.target()) {
                return Err(ReceiversError::SameAddress { index, first });
            }
            webhooks.push(new);
        }
        Ok(Self { mail, webhooks })
    }

    /// Targets of the webhooks that want events of this type.
    pub(in crate::modules::notification) fn webhooks_for(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.webhooks.iter().filter(move |webhook| webhook.wants(kind)).map(|webhook| webhook.target())
    }

    /// Whether mail is sent at all.
    pub(in crate::modules::notification) fn has_mail(&self) -> bool {
        self.mail.is_some()
    }

    pub(super) async fn send(&self, due: &Due) -> Outcome {
        match due.channel {
            Channel::Email => match &self.mail {
                Some(mailer) => mailer.send(due).await,
                None => Outcome::refused("mail is not configured any more"),
            },
            Channel::Webhook => match self.webhooks.iter().find(|webhook| webhook.target() == due.target) {
                Some(webhook) => webhook.post(due).await,
                None => Outcome::refused("this webhook is not configured any more"),
            },
        }
    }
}
