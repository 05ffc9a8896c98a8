//! The cryptography provider of rustls.

/// Chooses ring as rustls' provider for this process. Without a choice rustls panics at the first `https://`
/// as soon as two providers are compiled in, or none; one that was chosen before stays.
pub fn install() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
