//! Webhooks by the Standard Webhooks specification: a signed POST of the CloudEvents envelope.

use super::address::authority;
use super::attempt::Outcome;
use crate::kernel::clock;
use crate::modules::notification::events::TOPICS;
use crate::modules::notification::store::DueDelivery;
use crate::net::http::http;
use crate::observe::trace;
use crate::observe::trace::propagation;
use crate::settings;
use actix_web::http::header::{self, HttpDate};
use actix_web::http::{StatusCode, Uri};
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::{Duration, SystemTime};

/// Until the response's status and headers.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Limits for reading the response's body, which is read only to reuse the connection.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_DRAIN_BYTES: usize = 64 * 1024;
/// Characters; the width of the narrowest backend's column.
const MAX_TARGET_LEN: usize = 600;
/// Bytes of a signing key (Standard Webhooks).
const KEY_LEN: std::ops::RangeInclusive<usize> = 24..=64;

/// Invalid settings of a webhook. Messages never contain the secret or the URL, which may include credentials.
#[derive(Debug, thiserror::Error)]
pub(in crate::modules::notification) enum WebhookError {
    #[error("url: expected http://host/path or https://host/path")]
    Url,
    #[error("url: https is not compiled into this build; build with --features tls")]
    NoTls,
    #[error("url: longer than {MAX_TARGET_LEN} characters without credentials and query")]
    TooLong,
    #[error("events: `{event}` belongs to none of the topics {}", TOPICS.join(", "))]
    Event { event: String },
    #[error("secret: expected whsec_ and the base64 of {} to {} bytes", KEY_LEN.start(), KEY_LEN.end())]
    Secret,
}

pub(super) struct Webhook {
    /// The URL without credentials and query; only this form is stored and shown.
    target: String,
    url: String,
    credentials: Option<(String, String)>,
    key: Vec<u8>,
    events: Vec<String>,
}

impl Webhook {
    pub(super) fn new(settings: &settings::Webhook) -> Result<Self, WebhookError> {
        let url: Uri = settings.url.trim().parse().map_err(|_| WebhookError::Url)?;
        let scheme = url.scheme_str().filter(|s| matches!(*s, "http" | "https")).ok_or(WebhookError::Url)?;
        if scheme == "https" && !cfg!(feature = "tls") {
            return Err(WebhookError::NoTls);
        }
        let (host, credentials) = authority(&url).filter(|(host, _)| !host.is_empty()).ok_or(WebhookError::Url)?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{scheme}://{host}{}", url.path());
        if target.chars().count() > MAX_TARGET_LEN {
            return Err(WebhookError::TooLong);
        }
        let is_unknown = |event: &&String| !TOPICS.contains(&event.split('.').next().unwrap_or_default());
        if let Some(event) = settings.events.iter().find(is_unknown) {
            return Err(WebhookError::Event { event: event.clone() });
        }
        let key = key(settings.secret.expose())?;
        Ok(Self { url: format!("{target}{query}"), target, credentials, key, events: settings.events.clone() })
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn subscribes_to(&self, kind: &str) -> bool {
        self.events.is_empty() || self.events.iter().any(|event| event == kind)
    }

    pub(super) async fn post(&self, due: &DueDelivery) -> Outcome {
        let timestamp = clock::now_ms() / 1000;
        let mut request = http()
            .post(&self.url)
            .content_type("application/cloudevents+json")
            .insert_header(("webhook-id", due.event_id.as_str()))
            .insert_header(("webhook-timestamp", timestamp.to_string()))
            .insert_header(("webhook-signature", sign(&self.key, &due.event_id, timestamp, &due.body)));
        for header in trace::current().map(|span| propagation::headers(span.trace())).unwrap_or_default() {
            request = request.insert_header(header);
        }
        if let Some((user, password)) = &self.credentials {
            request = request.basic_auth(user, password);
        }
        let mut response = match tokio::time::timeout(TIMEOUT, request.send_body(due.body.clone())).await {
            Ok(Ok(response)) => response,
            Ok(Err(cause)) => return Outcome::failed(cause),
            Err(_) => return Outcome::failed(format!("no answer within {} s", TIMEOUT.as_secs())),
        };
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| parse_retry_after(value.to_str().ok()?));
        // the status decides; an incomplete body has no effect
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, response.body().limit(MAX_DRAIN_BYTES)).await;
        match status {
            status if status.is_success() => Outcome::Delivered,
            StatusCode::GONE => Outcome::rejected("answered 410 Gone"),
            status => Outcome::Failed { error: format!("answered {status}"), retry_after },
        }
    }
}

fn key(secret: &str) -> Result<Vec<u8>, WebhookError> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = secret.trim().strip_prefix("whsec_").ok_or(WebhookError::Secret)?;
    let key = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient).decode(text).map_err(|_| WebhookError::Secret)?;
    if KEY_LEN.contains(&key.len()) { Ok(key) } else { Err(WebhookError::Secret) }
}

/// `v1,` and the base64 of the HMAC-SHA256 over `{id}.{timestamp}.{body}`.
fn sign(key: &[u8], id: &str, timestamp: i64, body: &str) -> String {
    // HMAC accepts keys of any length: this never fails
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Seconds, or an HTTP date.
fn parse_retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date: HttpDate = text.parse().ok()?;
    SystemTime::from(date).duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::secret::Secret;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn settings(url: &str, secret: &str, events: &[&str]) -> settings::Webhook {
        settings::Webhook { url: url.into(), secret: Secret::new(secret), events: events.iter().map(|e| e.to_string()).collect() }
    }

    #[test]
    fn signature_of_standards_example_matches() {
        // printf '%s' 'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}' \
        //   | openssl dgst -sha256 -mac HMAC -macopt hexkey:$(echo MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw | base64 -d | xxd -p) -binary | base64
        let signature = sign(&key(SECRET).unwrap(), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn webhook_settings_malformed_error_hides_secrets() {
        for secret in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_c2hvcnQ=", "whsec_not*base64*at*all*not*base64*"] {
            let error = Webhook::new(&settings("http://h/p", secret, &[])).err().unwrap().to_string();
            assert!(error.contains("whsec_ and the base64 of 24 to 64 bytes"), "{error}");
            assert!(!error.contains("c2hvcnQ") && !error.contains("not*base64"), "{error}");
        }
        for url in ["", "host/path", "ftp://user:pw@host/", "/path", "http://"] {
            let error = Webhook::new(&settings(url, SECRET, &[])).err().unwrap().to_string();
            assert!(error.starts_with("url: expected") && !error.contains("pw"), "{error}");
        }
        let long = format!("http://user:pw@h/{}", "p".repeat(MAX_TARGET_LEN));
        let error = Webhook::new(&settings(&long, SECRET, &[])).err().unwrap().to_string();
        assert!(error.starts_with("url: longer than 600") && !error.contains("pw"), "{error}");
        assert!(Webhook::new(&settings("http://h/p", SECRET, &["orders.placed"])).err().unwrap().to_string().contains("`orders.placed`"));
        #[cfg(not(feature = "tls"))]
        assert!(Webhook::new(&settings("https://h/p", SECRET, &[])).err().unwrap().to_string().contains("--features tls"));
    }

    #[test]
    fn target_of_url_with_credentials_omits_them() {
        let webhook = Webhook::new(&settings("http://me:pw@host:81/hook?code=secret", SECRET, &["order.placed"])).unwrap();
        assert_eq!((webhook.target(), webhook.url.as_str()), ("http://host:81/hook", "http://host:81/hook?code=secret"));
        assert!(webhook.subscribes_to("order.placed") && !webhook.subscribes_to("order.cancelled"));
    }

    #[test]
    fn retry_after_as_seconds_or_date_is_parsed() {
        assert_eq!(parse_retry_after("120"), Some(Duration::from_secs(120)));
        assert!(parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT").unwrap() > Duration::from_secs(86_400));
        assert_eq!((parse_retry_after("Thu, 01 Jan 1970 00:00:00 GMT"), parse_retry_after("soon")), (None, None));
    }
}
