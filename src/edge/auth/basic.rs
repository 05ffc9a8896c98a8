//! Basic credentials (RFC 7617) for the servers whose clients know no tokens: registry, config server, actuator.

use crate::kernel::error::PartError;
use crate::kernel::files::{FileError, Folder};
use crate::kernel::secret::Secret;
use actix_web::HttpRequest;
use actix_web::http::header;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use std::path::Path;
use subtle::ConstantTimeEq;

const FILE: &str = "password";

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// An empty password.
    #[error("{setting} is empty")]
    Empty {
        /// The setting.
        setting: String,
    },
    /// A user's name that Basic credentials cannot carry.
    #[error("{setting} is empty or has a colon; expected a name")]
    User {
        /// The setting.
        setting: &'static str,
    },
    /// The file of the password that was made.
    #[error(transparent)]
    File(#[from] FileError),
}

impl PartError for CredentialsError {}

/// One user and password.
pub struct Basic {
    user: [u8; 32],
    password: [u8; 32],
}

impl Basic {
    /// By settings; also the password. One that they do not have is made, and kept in this folder. `setting` is
    /// named in errors.
    pub fn new(setting: &str, user: &str, password: Option<&Secret>, folder: &Path) -> Result<(Self, String), CredentialsError> {
        let password = match password {
            Some(password) => password.clone(),
            None => Secret::new(kept(folder)?),
        };
        Ok((Self::of(setting, user, &password)?, password.expose().to_string()))
    }

    /// With this password, which must not be empty. `setting` is named in errors.
    pub fn of(setting: &str, user: &str, password: &Secret) -> Result<Self, CredentialsError> {
        match password.expose() {
            "" => Err(CredentialsError::Empty { setting: setting.into() }),
            password => Ok(Self { user: digest(user), password: digest(password) }),
        }
    }

    /// Whether a request comes with them. Digests are compared, and all of them: how long it takes tells nothing.
    pub fn sent_with(&self, request: &HttpRequest) -> bool {
        let sent = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((user, password)) = sent.and_then(credentials) else { return false };
        (digest(&user).ct_eq(&self.user) & digest(&password).ct_eq(&self.password)).into()
    }
}

/// User and password of an `Authorization` header; `None` of one of another scheme.
pub(crate) fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_string(), password.to_string()))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The password of the first start.
fn kept(dir: &Path) -> Result<String, FileError> {
    let kept = Folder::open(dir.to_path_buf())?.get_or_make(FILE, || {
        tracing::info!(file = %dir.join(FILE).display(), "making a password for the clients of this server");
        // letters and digits, so that it goes into a URL as it is
        Ok::<_, FileError>(hex::encode(rand::random::<[u8; 32]>()))
    })?;
    match kept.trim() {
        "" => Err(FileError::Empty { path: dir.join(FILE) }),
        kept => Ok(kept.into()),
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
    fn the_right_credentials_only() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("server");
        let (access, _) = Basic::new("x.password", "tradepost", Some(&Secret::new("p:w")), &folder).unwrap();
        assert!(access.sent_with(&basic("tradepost:p:w")));
        for wrong in ["tradepost:p", "tradepost:", ":p:w", "other:p:w", "tradepost"] {
            assert!(!access.sent_with(&basic(wrong)), "{wrong}");
        }
        assert!(!access.sent_with(&TestRequest::get().to_http_request()));
        assert!(!folder.exists(), "none is made where one is set");
        assert!(Basic::new("x.password", "tradepost", Some(&Secret::new("")), &folder).err().unwrap().to_string().contains("x.password"));
    }

    #[test]
    fn a_password_is_made_once_and_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("server");
        let (first, made) = Basic::new("x.password", "tradepost", None, &folder).unwrap();
        let file = folder.join("password");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let password = std::fs::read_to_string(file).unwrap();
        assert!(first.sent_with(&basic(&format!("tradepost:{password}"))) && password.len() == 64);
        assert_eq!((Basic::new("x.password", "tradepost", None, &folder).unwrap().1, password), (made.clone(), made));
    }
}
