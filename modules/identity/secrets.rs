//! Random secrets, and secrets as the issuer keeps them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// 256 bits that nobody guesses, fit for a URL.
pub(super) fn random() -> String {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A secret as it is kept for comparing: of one length, whatever the secret's.
#[derive(Clone)]
pub(super) struct HashedSecret([u8; 32]);

impl HashedSecret {
    /// Of this secret.
    pub(super) fn new(secret: &str) -> Self {
        HashedSecret(Sha256::digest(secret).into())
    }

    /// Whether it is the same secret; takes the same time wherever they differ.
    pub(super) fn is(&self, secret: &str) -> bool {
        self.0.ct_eq(&Self::new(secret).0).into()
    }
}
