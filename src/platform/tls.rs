//! TLS towards others: webhooks, mail servers, issuers, peers.

/// Chooses ring as rustls' provider for this process. Without a choice rustls panics at the first `https://`
/// as soon as two providers are compiled in, or none; one that was chosen before stays.
pub fn install() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use crate::platform::contract::client::http;

    #[test]
    fn https_to_nobody_is_an_error_and_no_panic() {
        actix_web::rt::System::new().block_on(async {
            let nobody = http().get("https://127.0.0.1:1/").send().await.err().map(|e| e.to_string());
            assert!(nobody.as_deref().is_some_and(|e| e.contains("connect") || e.contains("refused")), "{nobody:?}");
        });
    }
}
