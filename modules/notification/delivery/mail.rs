//! Mail by SMTP.

use super::attempt::{MAX_IN_FLIGHT_PER_RECEIVER, Outcome};
use super::template;
use crate::data::types;
use crate::events::event::{Event, InvalidEventData};
use crate::kernel::error::StoreError;
use crate::kernel::secret::Secret;
use crate::modules::notification::events::{OrderData, OrderEvent};
use crate::modules::notification::store::Due;
use lettre::address::AddressError;
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::{AsyncSmtpTransportBuilder, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use std::sync::OnceLock;
use std::time::Duration;

/// For each command of a dialogue.
const TIMEOUT: Duration = Duration::from_secs(10);
/// For the whole of it.
const TOTAL: Duration = Duration::from_secs(30);

/// Settings with which no mail can be sent. None shows the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub(in crate::modules::notification) enum MailSettingsError {
    #[error("notification.smtp: {0}")]
    Server(#[from] ServerError),
    #[error("notification.from: expected `Name <name@host>`: {0}")]
    From(#[source] AddressError),
}

/// Why a URL leads to no mail server.
#[derive(Debug, thiserror::Error)]
pub(in crate::modules::notification) enum ServerError {
    #[error("expected smtp://user:password@host:port")]
    Form,
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Url(#[from] lettre::transport::smtp::Error),
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] crate::net::tls::TlsError),
    #[cfg(not(feature = "tls"))]
    #[error("TLS is not compiled into this build; build with --features tls")]
    NoTls,
}

/// Why there is no mail about an event: it would be the same at the next attempt.
#[derive(Debug, thiserror::Error)]
enum MessageError {
    #[error(transparent)]
    Event(#[from] StoreError),
    #[error(transparent)]
    Data(#[from] InvalidEventData),
    #[error("there is no mail about {kind}")]
    NoTemplate { kind: String },
    #[error("not a mail address: {0}")]
    Recipient(#[from] AddressError),
    #[error(transparent)]
    Build(#[from] lettre::error::Error),
}

/// Sends mail by one server from one address.
pub(super) struct Mailer {
    from: Mailbox,
    settings: AsyncSmtpTransportBuilder,
    // made at the first mail: its pool needs the running process around it
    transport: OnceLock<AsyncSmtpTransport<Tokio1Executor>>,
}

impl Mailer {
    /// Checks the settings.
    pub(super) fn new(url: &Secret, from: &str) -> Result<Self, MailSettingsError> {
        let settings = server(url.expose().trim())?;
        let from = from.parse().map_err(MailSettingsError::From)?;
        let pool = PoolConfig::new().max_size(MAX_IN_FLIGHT_PER_RECEIVER as u32);
        Ok(Self { from, settings: settings.timeout(Some(TIMEOUT)).pool_config(pool), transport: OnceLock::new() })
    }

    /// One attempt.
    pub(super) async fn send(&self, due: &Due) -> Outcome {
        let message = match self.message(due) {
            Ok(message) => message,
            Err(cause) => return Outcome::refused(cause),
        };
        let transport = self.transport.get_or_init(|| self.settings.clone().build());
        match tokio::time::timeout(TOTAL, transport.send(message)).await {
            Ok(Ok(_)) => Outcome::Delivered,
            Ok(Err(cause)) => match cause.status().map(u16::from) {
                // no such mailbox: the same mail again would get the same answer
                Some(550 | 551 | 553) => Outcome::refused(cause),
                _ => Outcome::failed(cause),
            },
            Err(_) => Outcome::failed(format!("no answer within {} s", TOTAL.as_secs())),
        }
    }

    fn message(&self, due: &Due) -> Result<Message, MessageError> {
        let event: Event = types::from_json(&due.body)?;
        let kind = OrderEvent::of(&event.kind).ok_or_else(|| MessageError::NoTemplate { kind: event.kind.clone() })?;
        let order: OrderData = event.data()?;
        let to = due.target.parse()?;
        let texts = template::texts(kind, &order);
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(texts.subject)
            // the same at every attempt: a receiver that got it twice can tell
            .message_id(Some(format!("<{}@{}>", due.event_id, self.from.email.domain())))
            .multipart(MultiPart::alternative_plain_html(texts.text, texts.html))?;
        Ok(message)
    }
}

#[cfg(feature = "tls")]
fn server(url: &str) -> Result<AsyncSmtpTransportBuilder, ServerError> {
    use lettre::transport::smtp::client::Tls;
    let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)?;
    // lettre has read the URL; whom to trust and what to show it is told here
    let parsed: actix_web::http::Uri = url.parse().map_err(|_| ServerError::Form)?;
    let asked = parsed.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("tls=")));
    let host = parsed.host().unwrap_or_default();
    let trusted = || crate::net::tls::mail_parameters(host);
    Ok(match (parsed.scheme_str(), asked) {
        (Some("smtps"), _) => server.tls(Tls::Wrapper(trusted()?)),
        (_, Some("required")) => server.tls(Tls::Required(trusted()?)),
        (_, Some(_)) => server.tls(Tls::Opportunistic(trusted()?)),
        (_, None) => server,
    })
}

/// The part of lettre's URLs that works without TLS; lettre itself reads them only with it.
#[cfg(not(feature = "tls"))]
fn server(url: &str) -> Result<AsyncSmtpTransportBuilder, ServerError> {
    use lettre::transport::smtp::{SMTP_PORT, authentication::Credentials, extension::ClientId};

    let url: actix_web::http::Uri = url.parse().map_err(|_| ServerError::Form)?;
    if url.scheme_str() == Some("smtps") || url.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("tls="))) {
        return Err(ServerError::NoTls);
    }
    let host = url.host().filter(|host| url.scheme_str() == Some("smtp") && !host.is_empty()).ok_or(ServerError::Form)?;
    let (_, credentials) = super::address::authority(&url).ok_or(ServerError::Form)?;
    let mut server =
        AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.trim_matches(['[', ']'])).port(url.port_u16().unwrap_or(SMTP_PORT));
    if let Some((user, password)) = credentials {
        server = server.credentials(Credentials::new(user, password));
    }
    let name = url.path().trim_matches('/');
    if !name.is_empty() {
        server = server.hello_name(ClientId::Domain(name.into()));
    }
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_and_never_shown() {
        let error = |url: &str, from: &str| Mailer::new(&Secret::new(url), from).err().map(|error| error.to_string()).unwrap_or_default();
        let from = crate::settings::Notification::default().from;
        assert_eq!(error("smtp://user:pw@localhost:2525/me.example", &from), "");
        #[cfg(not(feature = "tls"))]
        for url in ["smtps://user:pw@host", "smtp://user:pw@host?tls=required"] {
            let error = error(url, &from);
            assert!(error.starts_with("notification.smtp: ") && error.contains("--features tls") && !error.contains("pw"), "{error}");
        }
        for url in ["http://user:pw@host", "host:25", ""] {
            let error = error(url, &from);
            assert!(error.starts_with("notification.smtp: ") && !error.contains("pw"), "{error}");
        }
        assert!(error("smtp://host", "nobody").starts_with("notification.from: "));
    }
}
