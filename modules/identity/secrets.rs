//! Random secrets, and secrets as the issuer keeps them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// 256 random bits, URL-safe.
pub(super) fn random_secret() -> String {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Hash of a secret. Its length does not depend on the secret's.
#[derive(Clone)]
pub(super) struct HashedSecret([u8; 32]);

impl HashedSecret {
    pub(super) fn new(secret: &str) -> Self {
        HashedSecret(Sha256::digest(secret).into())
    }

    /// Compares in constant time.
    pub(super) fn matches(&self, secret: &str) -> bool {
        self.0.ct_eq(&Self::new(secret).0).into()
    }
}
