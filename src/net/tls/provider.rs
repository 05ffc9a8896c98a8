//! The cryptography provider of rustls.

/// Selects ring as rustls' provider for this process, unless a provider was selected before. Without a selection
/// rustls panics at the first `https://` if it is compiled with no provider or with several.
pub fn install() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
