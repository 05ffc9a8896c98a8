//! Basic authentication (RFC 7617) at the registry, the config server and the actuator, whose clients do not
//! support tokens.

use crate::kernel::error::ComponentError;
use crate::kernel::files::{FileError, SecretFolder};
use crate::kernel::secret::Secret;
use actix_web::HttpRequest;
use actix_web::http::header;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use std::path::Path;
use subtle::ConstantTimeEq;

const FILE: &str = "password";

/// Invalid credentials in settings or in the password file.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("{setting} is empty")]
    Empty { setting: String },
    #[error("{setting} is empty or has a colon; expected a name")]
    User { setting: &'static str },
    #[error(transparent)]
    File(#[from] FileError),
}

impl ComponentError for CredentialsError {}

/// User and password as SHA-256 digests.
pub struct BasicCredentials {
    user: [u8; 32],
    password: [u8; 32],
}

impl BasicCredentials {
    /// Returns the credentials and the password. Without a password in settings, generates one in `folder` at the
    /// first start. `setting` is the password's key, for errors.
    pub fn new(setting: &str, user: &str, password: Option<&Secret>, folder: &Path) -> Result<(Self, String), CredentialsError> {
        let password = match password {
            Some(password) => password.clone(),
            None => Secret::new(generated_password(folder)?),
        };
        Ok((Self::of(setting, user, &password)?, password.expose().to_string()))
    }

    /// Rejects an empty password. `setting` is the password's key, for errors.
    pub fn of(setting: &str, user: &str, password: &Secret) -> Result<Self, CredentialsError> {
        match password.expose() {
            "" => Err(CredentialsError::Empty { setting: setting.into() }),
            password => Ok(Self { user: digest(user), password: digest(password) }),
        }
    }

    /// Whether the request has these credentials. Constant time: compares digests, and always both.
    pub fn matches_request(&self, request: &HttpRequest) -> bool {
        let sent = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((user, password)) = sent.and_then(credentials) else { return false };
        (digest(&user).ct_eq(&self.user) & digest(&password).ct_eq(&self.password)).into()
    }
}

/// Parses user and password from an `Authorization` header; `None` for other schemes.
pub(crate) fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_string(), password.to_string()))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The password in `dir`; generated at the first start.
fn generated_password(dir: &Path) -> Result<String, FileError> {
    let password = SecretFolder::open(dir.to_path_buf())?.get_or_create(FILE, || {
        tracing::info!(file = %dir.join(FILE).display(), "generating a password for the clients of this server");
        // Hex digits need no escaping in a URL.
        Ok::<_, FileError>(hex::encode(rand::random::<[u8; 32]>()))
    })?;
    match password.trim() {
        "" => Err(FileError::Empty { path: dir.join(FILE) }),
        password => Ok(password.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn basic(pair: &str) -> HttpRequest {
        TestRequest::get().insert_header((header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))).to_http_request()
    }

    #[test]
    fn request_without_the_exact_credentials_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("server");
        let (access, _) = BasicCredentials::new("x.password", "tradepost", Some(&Secret::new("p:w")), &folder).unwrap();
        assert!(access.matches_request(&basic("tradepost:p:w")));
        for wrong in ["tradepost:p", "tradepost:", ":p:w", "other:p:w", "tradepost"] {
            assert!(!access.matches_request(&basic(wrong)), "{wrong}");
        }
        assert!(!access.matches_request(&TestRequest::get().to_http_request()));
        assert!(!folder.exists(), "no password is generated if one is set");
        assert!(
            BasicCredentials::new("x.password", "tradepost", Some(&Secret::new("")), &folder)
                .err()
                .unwrap()
                .to_string()
                .contains("x.password")
        );
    }

    #[test]
    fn missing_password_is_generated_once_and_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("server");
        let (first, generated) = BasicCredentials::new("x.password", "tradepost", None, &folder).unwrap();
        let file = folder.join("password");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let password = std::fs::read_to_string(file).unwrap();
        assert!(first.matches_request(&basic(&format!("tradepost:{password}"))) && password.len() == 64);
        assert_eq!((BasicCredentials::new("x.password", "tradepost", None, &folder).unwrap().1, password), (generated.clone(), generated));
    }
}
