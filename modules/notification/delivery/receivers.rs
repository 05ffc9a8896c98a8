//! The receivers that settings name.

use super::attempt::Outcome;
use super::{mail, webhook};
use crate::kernel::error::ComponentError;
use crate::modules::notification::store::{Channel, DueDelivery};
use crate::settings::Notification;

/// Invalid settings of receivers.
#[derive(Debug, thiserror::Error)]
pub(in crate::modules::notification) enum ReceiversError {
    #[error(transparent)]
    Mail(#[from] mail::MailSettingsError),
    #[error("notification.webhooks[{index}]: {source}")]
    Webhook { index: usize, source: webhook::WebhookError },
    #[error("notification.webhooks[{index}]: same URL as webhooks[{first}], ignoring credentials and query")]
    DuplicateUrl { index: usize, first: usize },
}

impl ComponentError for ReceiversError {}

pub(in crate::modules::notification) struct Receivers {
    mail: Option<mail::Mailer>,
    webhooks: Vec<webhook::Webhook>,
}

impl Receivers {
    /// Validates the settings at start, instead of failing at the first event.
    pub(in crate::modules::notification) fn new(settings: &Notification) -> Result<Self, ReceiversError> {
        let mail = settings.smtp.as_ref().map(|url| mail::Mailer::new(url, &settings.from)).transpose()?;
        let mut webhooks: Vec<webhook::Webhook> = Vec::new();
        for (index, settings) in settings.webhooks.iter().enumerate() {
            let webhook = webhook::Webhook::new(settings).map_err(|source| ReceiversError::Webhook { index, source })?;
            if let Some(first) = webhooks.iter().position(|other| other.target() == webhook.target()) {
                return Err(ReceiversError::DuplicateUrl { index, first });
            }
            webhooks.push(webhook);
        }
        Ok(Self { mail, webhooks })
    }

    /// Targets of the webhooks that subscribe to this event type.
    pub(in crate::modules::notification) fn webhooks_for(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.webhooks.iter().filter(move |webhook| webhook.subscribes_to(kind)).map(|webhook| webhook.target())
    }

    pub(in crate::modules::notification) fn has_mail(&self) -> bool {
        self.mail.is_some()
    }

    pub(super) async fn send(&self, due: &DueDelivery) -> Outcome {
        match due.channel {
            Channel::Email => match &self.mail {
                Some(mailer) => mailer.send(due).await,
                None => Outcome::rejected("mail is no longer configured"),
            },
            Channel::Webhook => match self.webhooks.iter().find(|webhook| webhook.target() == due.target) {
                Some(webhook) => webhook.post(due).await,
                None => Outcome::rejected("this webhook is no longer configured"),
            },
        }
    }
}
