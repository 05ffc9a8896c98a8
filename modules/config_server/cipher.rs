//! Decryption and encryption of values with a symmetric key, compatible with Spring's server and its repositories.
//!
//! Source: spring-cloud-context `EncryptorFactory`, spring-security-crypto `Encryptors.text`,
//! `AesBytesEncryptor`: AES-256 in CBC with PKCS#7 padding under PBKDF2 (HMAC-SHA-1, 1024 rounds), the
//! random first block in front, all in hexadecimal. Without authentication: it does not detect changed values, but
//! users with write access to the repository are trusted.

#[cfg(feature = "config-cipher")]
pub(super) use spring::Cipher;

#[derive(Debug, thiserror::Error)]
pub(super) enum CipherError {
    #[cfg(feature = "config-cipher")]
    #[error("config_server.encrypt_key: expected a symmetric key; RSA keys are not supported")]
    Key,
    #[cfg(feature = "config-cipher")]
    #[error("config_server.encrypt_salt: expected hexadecimal digits, two per byte")]
    Salt,
    #[cfg(not(feature = "config-cipher"))]
    #[error("config_server.encrypt_key: this build has no encryption; build with --features config-cipher")]
    NotBuilt,
}

#[cfg(feature = "config-cipher")]
mod spring {
    use super::CipherError;
    use aes::Aes256;
    use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};

    const BLOCK: usize = 16;
    const ROUNDS: u32 = 1024;

    pub(in super::super) struct Cipher([u8; 32]);

    impl Cipher {
        /// `salt` is hexadecimal.
        pub(in super::super) fn new(key: &str, salt: &str) -> Result<Self, CipherError> {
            if key.is_empty() || key.contains("PRIVATE KEY") || key.starts_with("ssh-rsa") {
                return Err(CipherError::Key);
            }
            let salt = from_hex(salt).ok_or(CipherError::Salt)?;
            let mut derived = [0; 32];
            pbkdf2::pbkdf2_hmac::<sha1::Sha1>(key.as_bytes(), &salt, ROUNDS, &mut derived);
            Ok(Self(derived))
        }

        /// The result differs on each call: the IV is random.
        pub(in super::super) fn encrypt(&self, text: &str) -> String {
            let mut iv = [0; BLOCK];
            rand::fill(&mut iv);
            let sealed = cbc::Encryptor::<Aes256>::new(&self.0.into(), &iv.into()).encrypt_padded_vec::<Pkcs7>(text.as_bytes());
            hex::encode([&iv[..], &sealed].concat())
        }

        /// `None` if the text was not encrypted with this key.
        pub(in super::super) fn decrypt(&self, hex: &str) -> Option<String> {
            let bytes = from_hex(hex.trim())?;
            let (iv, sealed) = bytes.split_first_chunk::<BLOCK>()?;
            let opened = cbc::Decryptor::<Aes256>::new(&self.0.into(), iv.into()).decrypt_padded_vec::<Pkcs7>(sealed).ok()?;
            String::from_utf8(opened).ok()
        }
    }

    /// At least one byte.
    fn from_hex(text: &str) -> Option<Vec<u8>> {
        hex::decode(text).ok().filter(|bytes| !bytes.is_empty())
    }
}

/// Without `config-cipher`, this type has no values.
#[cfg(not(feature = "config-cipher"))]
pub(super) enum Cipher {}

#[cfg(not(feature = "config-cipher"))]
impl Cipher {
    pub(super) fn new(_: &str, _: &str) -> Result<Self, CipherError> {
        Err(CipherError::NotBuilt)
    }

    pub(super) fn encrypt(&self, _: &str) -> String {
        match *self {}
    }

    pub(super) fn decrypt(&self, _: &str) -> Option<String> {
        match *self {}
    }
}
