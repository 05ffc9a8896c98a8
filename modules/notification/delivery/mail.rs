//! Mail by SMTP.

use super::attempt::{MAX_IN_FLIGHT_PER_RECEIVER, Outcome};
use super::template;
use crate::data::types;
use crate::events::event::{Event, InvalidEventData};
use crate::kernel::error::StoreError;
use crate::kernel::secret::Secret;
use crate::modules::notification::events::{OrderData, OrderEvent};
use crate::modules::notification::store::DueDelivery;
use lettre::address::AddressError;
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::{AsyncSmtpTransportBuilder, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use std::sync::OnceLock;
use std::time::Duration;

/// Per SMTP command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// Per mail.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Invalid mail settings. Messages never contain the URL, which may include a password.
#[derive(Debug, thiserror::Error)]
pub(in crate::modules::notification) enum MailSettingsError {
    #[error("notification.smtp: {0}")]
    Server(#[from] ServerError),
    #[error("notification.from: expected `Name <name@host>`: {0}")]
    From(#[source] AddressError),
}

/// An invalid mail server URL.
#[derive(Debug, thiserror::Error)]
pub(in crate::modules::notification) enum ServerError {
    #[error("expected smtp://user:password@host:port")]
    Syntax,
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

/// A permanent error: no mail can be built for the event.
#[derive(Debug, thiserror::Error)]
enum MessageError {
    #[error(transparent)]
    Event(#[from] StoreError),
    #[error(transparent)]
    Data(#[from] InvalidEventData),
    #[error("no mail template for {kind}")]
    NoTemplate { kind: String },
    #[error("not a mail address: {0}")]
    Recipient(#[from] AddressError),
    #[error(transparent)]
    Build(#[from] lettre::error::Error),
}

/// Sends mail through one server from one address.
pub(super) struct Mailer {
    from: Mailbox,
    settings: AsyncSmtpTransportBuilder,
    // created at the first mail: the pool needs a running Tokio runtime
    transport: OnceLock<AsyncSmtpTransport<Tokio1Executor>>,
}

impl Mailer {
    pub(super) fn new(url: &Secret, from: &str) -> Result<Self, MailSettingsError> {
        let settings = server(url.expose().trim())?;
        let from = from.parse().map_err(MailSettingsError::From)?;
        let pool = PoolConfig::new().max_size(MAX_IN_FLIGHT_PER_RECEIVER as u32);
        Ok(Self { from, settings: settings.timeout(Some(COMMAND_TIMEOUT)).pool_config(pool), transport: OnceLock::new() })
    }

    pub(super) async fn send(&self, due: &DueDelivery) -> Outcome {
        let message = match self.message(due) {
            Ok(message) => message,
            Err(cause) => return Outcome::rejected(cause),
        };
        let transport = self.transport.get_or_init(|| self.settings.clone().build());
        match tokio::time::timeout(SEND_TIMEOUT, transport.send(message)).await {
            Ok(Ok(_)) => Outcome::Delivered,
            Ok(Err(cause)) => match cause.status().map(u16::from) {
                // no such mailbox (RFC 5321): a retry would fail, too
                Some(550 | 551 | 553) => Outcome::rejected(cause),
                _ => Outcome::failed(cause),
            },
            Err(_) => Outcome::failed(format!("no answer within {} s", SEND_TIMEOUT.as_secs())),
        }
    }

    fn message(&self, due: &DueDelivery) -> Result<Message, MessageError> {
        let event: Event = types::from_json(&due.body)?;
        let kind = OrderEvent::from_kind(&event.kind).ok_or_else(|| MessageError::NoTemplate { kind: event.kind.clone() })?;
        let order: OrderData = event.data()?;
        let to = due.target.parse()?;
        let texts = template::texts(kind, &order);
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(texts.subject)
            // the same for every attempt, so that receivers can drop duplicates
            .message_id(Some(format!("<{}@{}>", due.event_id, self.from.email.domain())))
            .multipart(MultiPart::alternative_plain_html(texts.text, texts.html))?;
        Ok(message)
    }
}

#[cfg(feature = "tls")]
fn server(url: &str) -> Result<AsyncSmtpTransportBuilder, ServerError> {
    use lettre::transport::smtp::client::Tls;
    let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)?;
    // lettre parses the URL; its TLS modes get the shop's trust store and client certificate here
    let parsed: actix_web::http::Uri = url.parse().map_err(|_| ServerError::Syntax)?;
    let tls_mode = parsed.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("tls=")));
    let host = parsed.host().unwrap_or_default();
    let tls_parameters = || crate::net::tls::mail_parameters(host);
    Ok(match (parsed.scheme_str(), tls_mode) {
        (Some("smtps"), _) => server.tls(Tls::Wrapper(tls_parameters()?)),
        (_, Some("required")) => server.tls(Tls::Required(tls_parameters()?)),
        (_, Some(_)) => server.tls(Tls::Opportunistic(tls_parameters()?)),
        (_, None) => server,
    })
}

/// Parses lettre's URLs without TLS; lettre supports URLs only with its TLS feature.
#[cfg(not(feature = "tls"))]
fn server(url: &str) -> Result<AsyncSmtpTransportBuilder, ServerError> {
    use lettre::transport::smtp::{SMTP_PORT, authentication::Credentials, extension::ClientId};

    let url: actix_web::http::Uri = url.parse().map_err(|_| ServerError::Syntax)?;
    if url.scheme_str() == Some("smtps") || url.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("tls="))) {
        return Err(ServerError::NoTls);
    }
    let host = url.host().filter(|host| url.scheme_str() == Some("smtp") && !host.is_empty()).ok_or(ServerError::Syntax)?;
    let (_, credentials) = super::address::authority(&url).ok_or(ServerError::Syntax)?;
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
    fn mail_settings_invalid_error_hides_url() {
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
        assert!(error("smtp://host", "no address").starts_with("notification.from: "));
    }
}
