//! The signing key: RSA 2048, generated at the first start. Its id is its RFC 7638 thumbprint, so the id
//! survives restarts.

use crate::kernel::files::{FileError, SecretFolder};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use rsa::traits::PublicKeyParts;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::error::Error;

const FILE: &str = "key.pem";
const BITS: usize = 2048;

#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("identity/{FILE} is not an RSA key in PKCS#8 PEM ({0}); remove the file to generate a new key")]
    Format(#[from] rsa::pkcs8::Error),
    #[error("identity/{FILE} has fewer than {BITS} bits; remove the file to generate a new key")]
    TooShort,
    #[error("the key is not usable: {0}")]
    Unusable(#[source] Box<dyn Error + Send + Sync>),
}

#[derive(Debug, thiserror::Error)]
enum NewKeyError {
    #[error("key generation failed: {0}")]
    Generate(#[from] rsa::Error),
    #[error("the new key could not be written: {0}")]
    Encode(#[from] rsa::pkcs8::Error),
}

#[derive(Debug, thiserror::Error)]
#[error("signing a token failed: {0}")]
pub(super) struct SignError(#[from] jsonwebtoken::errors::Error);

pub(super) struct Keys {
    kid: String,
    modulus: String,
    exponent: String,
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl Keys {
    /// Reads the key; generates it at the first start.
    pub(super) fn open(folder: &SecretFolder) -> Result<Self, KeyError> {
        let pem = folder.get_or_create(FILE, generate)?;
        let key = rsa::PrivateKey::from_pkcs8_pem(&pem)?;
        if key.size() * 8 < BITS {
            return Err(KeyError::TooShort);
        }
        let (modulus, exponent) = (URL_SAFE_NO_PAD.encode(key.n_bytes()), URL_SAFE_NO_PAD.encode(key.e_bytes()));
        let der = key.to_pkcs1_der().map_err(|cause| KeyError::Unusable(Box::new(cause)))?;
        Ok(Self {
            kid: thumbprint(&modulus, &exponent),
            signing: EncodingKey::from_rsa_der(der.as_bytes()),
            verifying: DecodingKey::from_rsa_components(&modulus, &exponent).map_err(|cause| KeyError::Unusable(Box::new(cause)))?,
            modulus,
            exponent,
        })
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs a JWT. Takes milliseconds of CPU: do not call it on a thread that serves requests.
    pub(super) fn sign<T: Serialize>(&self, claims: &T) -> Result<String, SignError> {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::RS256) };
        Ok(encode(&header, claims, &self.signing)?)
    }

    /// The claims of a JWT with a valid signature of this key that passes these rules.
    pub(super) fn verify<T: DeserializeOwned>(&self, token: &str, rules: &Validation) -> Option<T> {
        decode(token, &self.verifying, rules).ok().map(|data| data.claims)
    }

    /// The public key as a JWK set (RFC 7517).
    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": self.modulus, "e": self.exponent,
        }] })
    }
}

/// Generates a key as PKCS#8 PEM.
fn generate() -> Result<String, NewKeyError> {
    let key = rsa::PrivateKey::new(&mut rand::rng(), BITS)?;
    Ok(key.to_pkcs8_pem(LineEnding::LF)?.to_string())
}

/// RFC 7638: the members in this order, without spaces.
fn thumbprint(modulus: &str, exponent: &str) -> String {
    let canonical = format!(r#"{{"e":"{exponent}","kty":"RSA","n":"{modulus}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprint_of_rfc_7638_example_matches() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        assert_eq!(thumbprint(n, "AQAB"), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    #[cfg(unix)]
    fn key_is_generated_once_with_owner_only_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data/identity");
        let first = Keys::open(&SecretFolder::open(path.clone()).unwrap()).unwrap();
        let reopened = Keys::open(&SecretFolder::open(path.clone()).unwrap()).unwrap();
        assert_eq!(first.kid(), reopened.kid());
        assert_eq!(first.jwks(), reopened.jwks());
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join(FILE))), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "no temporary files remain");

        std::fs::set_permissions(path.join(FILE), std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = Keys::open(&SecretFolder::open(path.clone()).unwrap()).err().unwrap().to_string();
        assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(SecretFolder::open(path).err().unwrap().to_string().contains("chmod 700"));
    }
}
