//! Deliveries to receivers outside: who they are, how each is reached, and the worker that sends.

pub(super) mod courier;
mod mail;
mod template;
mod webhook;

use super::store::{Channel, Due};
use crate::kernel::error::PartError;
use crate::kernel::uri::user_info;
use crate::settings::Notification;
use actix_web::http::Uri;
use std::time::Duration;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// The receiver has accepted it.
    Delivered,
    /// It may be accepted later; the receiver may have said when.
    Failed { error: String, wait: Option<Duration> },
    /// It will not be accepted later either.
    Refused { error: String },
}

impl Outcome {
    fn failed(error: impl std::fmt::Display) -> Self {
        Outcome::Failed { error: error.to_string(), wait: None }
    }

    fn refused(error: impl std::fmt::Display) -> Self {
        Outcome::Refused { error: error.to_string() }
    }
}

/// Settings of receivers that cannot work.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReceiversError {
    #[error(transparent)]
    Mail(#[from] mail::MailSettingsError),
    #[error("notification.webhooks[{index}]: {source}")]
    Webhook { index: usize, source: webhook::WebhookError },
    #[error("notification.webhooks[{index}]: has the address of webhooks[{first}], credentials and query aside")]
    SameAddress { index: usize, first: usize },
}

impl PartError for ReceiversError {}

/// All receivers that settings name, checked at start.
pub(super) struct Receivers {
    mail: Option<mail::Mailer>,
    webhooks: Vec<webhook::Webhook>,
}

impl Receivers {
    /// From settings; what cannot work is refused here rather than at the first event.
    pub(super) fn new(settings: &Notification) -> Result<Self, ReceiversError> {
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
    pub(super) fn webhooks_for(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.webhooks.iter().filter(move |webhook| webhook.wants(kind)).map(|webhook| webhook.target())
    }

    /// Whether mail is sent at all.
    pub(super) fn has_mail(&self) -> bool {
        self.mail.is_some()
    }

    async fn send(&self, due: &Due) -> Outcome {
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

/// A mail address that tells its owner, and little to others.
pub(super) fn masked(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let initial: String = local.chars().take(1).collect();
    format!("{initial}***@{domain}")
}

/// A URL's authority without credentials, and those.
fn authority(url: &Uri) -> Option<(&str, Option<(String, String)>)> {
    let authority = url.authority()?.as_str();
    let Some((credentials, host)) = authority.rsplit_once('@') else { return Some((authority, None)) };
    Some((host, Some(user_info(credentials)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_address_keeps_its_domain() {
        assert_eq!(masked("jane.doe@example.com"), "j***@example.com");
        assert_eq!(masked("nonsense"), "n***@");
    }

    #[test]
    fn credentials_are_taken_out_of_an_address() {
        let url: Uri = "https://us%40er:pa%3Ass@host:8443/x?y=z".parse().unwrap();
        assert_eq!(authority(&url).unwrap(), ("host:8443", Some(("us@er".into(), "pa:ss".into()))));
    }
}
