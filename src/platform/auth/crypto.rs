//! RSA for jsonwebtoken, on the `rsa` crate alone.
//!
//! jsonwebtoken's own provider brings three elliptic curves along, sixteen crates that a shop with Keycloak's
//! default (RS256) never runs. Which algorithms are accepted is decided in [`super`], not here; the feature
//! `jwt-ec` takes jsonwebtoken's provider in place of this one.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::signature::{Error, Verifier};
use rsa::{BigUint, Pkcs1v15Sign, Pss, RsaPublicKey};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// Makes this the process's provider; one that was chosen before stays.
pub fn install() {
    static RSA: CryptoProvider =
        CryptoProvider { signer_factory: signing::signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };
    let _ = RSA.install_default();
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let known = matches!(
        algorithm,
        Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512
    );
    if !known || key.family() != AlgorithmFamily::Rsa {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let key = match key.kind() {
        DecodingKeyKind::SecretOrDer(der) => RsaPublicKey::from_pkcs1_der(der).map_err(|e| e.to_string()),
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            RsaPublicKey::new(BigUint::from_bytes_be(n), BigUint::from_bytes_be(e)).map_err(|e| e.to_string())
        }
    };
    Ok(Box::new(Rsa { algorithm: *algorithm, key: key.map_err(ErrorKind::InvalidRsaKey)? }))
}

/// Signing is the issuer's alone.
#[cfg(feature = "identity")]
mod signing {
    use super::{Algorithm, AlgorithmFamily, Digest, Error, ErrorKind, Pkcs1v15Sign, Result, Sha256};
    use jsonwebtoken::EncodingKey;
    use jsonwebtoken::crypto::JwtSigner;
    use rsa::RsaPrivateKey;
    use rsa::pkcs1::DecodeRsaPrivateKey;
    use rsa::signature::Signer;

    pub(super) fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
        if *algorithm != Algorithm::RS256 || key.family() != AlgorithmFamily::Rsa {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        let key = RsaPrivateKey::from_pkcs1_der(key.as_bytes()).map_err(|e| ErrorKind::InvalidRsaKey(e.to_string()))?;
        Ok(Box::new(Rs256(key)))
    }

    /// Signs as the built-in issuer does.
    struct Rs256(RsaPrivateKey);

    impl Signer<Vec<u8>> for Rs256 {
        fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
            // blinded: how long it takes says nothing about the key
            let signed = self.0.sign_with_rng(&mut rsa::rand_core::OsRng, Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message));
            signed.map_err(Error::from_source)
        }
    }

    impl JwtSigner for Rs256 {
        fn algorithm(&self) -> Algorithm {
            Algorithm::RS256
        }
    }
}

#[cfg(not(feature = "identity"))]
mod signing {
    use super::{Algorithm, ErrorKind, Result};

    pub(super) fn signer(_: &Algorithm, _: &jsonwebtoken::EncodingKey) -> Result<Box<dyn jsonwebtoken::crypto::JwtSigner>> {
        Err(ErrorKind::InvalidAlgorithm.into())
    }
}

/// Checks a signature.
struct Rsa {
    algorithm: Algorithm,
    key: RsaPublicKey,
}

impl Verifier<Vec<u8>> for Rsa {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let checked = match self.algorithm {
            Algorithm::RS256 => self.key.verify(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message), signature),
            Algorithm::RS384 => self.key.verify(Pkcs1v15Sign::new::<Sha384>(), &Sha384::digest(message), signature),
            Algorithm::RS512 => self.key.verify(Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(message), signature),
            Algorithm::PS256 => self.key.verify(Pss::new::<Sha256>(), &Sha256::digest(message), signature),
            Algorithm::PS384 => self.key.verify(Pss::new::<Sha384>(), &Sha384::digest(message), signature),
            Algorithm::PS512 => self.key.verify(Pss::new::<Sha512>(), &Sha512::digest(message), signature),
            _ => return Err(Error::new()),
        };
        checked.map_err(Error::from_source)
    }
}

impl JwtVerifier for Rsa {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(feature = "identity")]
#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header, Validation, decode, encode};
    use rsa::RsaPrivateKey;
    use rsa::pkcs1::EncodeRsaPrivateKey;
    use rsa::pkcs1v15::SigningKey;
    use rsa::pss::BlindedSigningKey;
    use rsa::rand_core::OsRng;
    use rsa::signature::{RandomizedSigner, SignatureEncoding};
    use rsa::traits::PublicKeyParts;
    use serde_json::{Value, json};

    fn key() -> (RsaPrivateKey, DecodingKey) {
        install();
        let key = RsaPrivateKey::new(&mut OsRng, 2048).unwrap();
        let public = DecodingKey::from_rsa_raw_components(&key.n().to_bytes_be(), &key.e().to_bytes_be());
        (key, public)
    }

    fn token(algorithm: Algorithm, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
        let part = |json: Value| B64.encode(json.to_string());
        let head = format!("{}.{}", part(json!({ "alg": format!("{algorithm:?}") })), part(json!({ "exp": 4_000_000_000_u64 })));
        let signature = B64.encode(sign(head.as_bytes()));
        format!("{head}.{signature}")
    }

    /// Signed by the rsa crate's own signers, each algorithm with the hash and padding of RFC 7518.
    #[test]
    fn every_rsa_algorithm_is_checked_by_its_own_rules() {
        let (key, public) = key();
        let mut rng = OsRng;
        let pkcs = |k: &RsaPrivateKey| {
            (SigningKey::<Sha256>::new(k.clone()), SigningKey::<Sha384>::new(k.clone()), SigningKey::<Sha512>::new(k.clone()))
        };
        let (a, b, c) = pkcs(&key);
        let tokens = [
            (Algorithm::RS256, token(Algorithm::RS256, |m| a.sign_with_rng(&mut rng, m).to_vec())),
            (Algorithm::RS384, token(Algorithm::RS384, |m| b.sign_with_rng(&mut rng, m).to_vec())),
            (Algorithm::RS512, token(Algorithm::RS512, |m| c.sign_with_rng(&mut rng, m).to_vec())),
            (
                Algorithm::PS256,
                token(Algorithm::PS256, |m| BlindedSigningKey::<Sha256>::new(key.clone()).sign_with_rng(&mut rng, m).to_vec()),
            ),
            (
                Algorithm::PS384,
                token(Algorithm::PS384, |m| BlindedSigningKey::<Sha384>::new(key.clone()).sign_with_rng(&mut rng, m).to_vec()),
            ),
            (
                Algorithm::PS512,
                token(Algorithm::PS512, |m| BlindedSigningKey::<Sha512>::new(key.clone()).sign_with_rng(&mut rng, m).to_vec()),
            ),
        ];
        for (algorithm, token) in tokens {
            let rules = |algorithm| {
                let mut rules = Validation::new(algorithm);
                rules.validate_aud = false;
                rules
            };
            assert!(decode::<Value>(&token, &public, &rules(algorithm)).is_ok(), "{algorithm:?}");
            // one flipped bit, in what is signed and in the signature
            for at in [token.find('.').unwrap() + 3, token.len() - 20] {
                let mut bytes = token.clone().into_bytes();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                assert!(decode::<Value>(String::from_utf8(bytes).unwrap(), &public, &rules(algorithm)).is_err(), "{algorithm:?} at {at}");
            }
        }
    }

    #[test]
    fn what_is_not_rsa_is_refused_without_a_panic() {
        let (key, public) = key();
        let der = key.to_pkcs1_der().unwrap();
        let ours = EncodingKey::from_rsa_der(der.as_bytes());
        assert!(encode(&Header::new(Algorithm::RS256), &json!({}), &ours).is_ok());
        assert!(encode(&Header::new(Algorithm::HS256), &json!({}), &EncodingKey::from_secret(b"s")).is_err());
        // the classic: the public key taken for a shared secret
        let confused = token(Algorithm::HS256, |_| vec![0; 32]);
        assert!(decode::<Value>(&confused, &public, &Validation::new(Algorithm::HS256)).is_err());
        assert!(verifier(&Algorithm::HS256, &DecodingKey::from_secret(b"s")).is_err());
        assert!(verifier(&Algorithm::ES256, &public).is_err());
    }
}
