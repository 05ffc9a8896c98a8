//! Who may write to the registry: whoever registers an instance of a module is sent its calls, with
//! their bearer tokens. Eureka clients send Basic credentials, from their server's URL.

use crate::config::Registry;
use crate::platform::files::Folder;
use crate::platform::problem::Problem;
use actix_web::HttpRequest;
use actix_web::http::header;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use std::path::Path;

const FILE: &str = "password";

/// Checks credentials.
pub(super) struct Access {
    user: [u8; 32],
    password: [u8; 32],
    open_reads: bool,
}

impl Access {
    /// By settings; also the password. One that they do not have is made, and kept in `{data}/registry`.
    pub(super) fn new(settings: &Registry, data: &Path) -> Result<(Self, String), String> {
        let password = match &settings.password {
            Some(password) if password.expose().is_empty() => return Err("registry.password is empty".into()),
            Some(password) => password.expose().to_string(),
            None => kept(&data.join("registry"))?,
        };
        Ok((Self { user: digest(&settings.user), password: digest(&password), open_reads: settings.open_reads }, password))
    }

    /// For reading.
    pub(super) fn read(&self, request: &HttpRequest) -> Result<(), Problem> {
        if self.open_reads { Ok(()) } else { self.write(request) }
    }

    /// For writing.
    pub(super) fn write(&self, request: &HttpRequest) -> Result<(), Problem> {
        let sent = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if sent.and_then(credentials).is_some_and(|(user, password)| self.right(&user, &password)) {
            return Ok(());
        }
        let mut problem = Problem::new(
            401,
            "the registry takes this with credentials only; clients have them in its URL: http://user:password@host:port/eureka",
        );
        problem.challenge = Some("Basic realm=\"registry\", charset=\"UTF-8\"".into());
        Err(problem)
    }

    /// Digests are compared, and all of them: how long it takes tells nothing.
    fn right(&self, user: &str, password: &str) -> bool {
        let differ = |a: &[u8; 32], b: &[u8; 32]| a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y));
        differ(&digest(user), &self.user) | differ(&digest(password), &self.password) == 0
    }
}

fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_string(), password.to_string()))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The password of the first start.
fn kept(dir: &Path) -> Result<String, String> {
    let kept = Folder::open(dir.to_path_buf())?.get_or_make(FILE, || {
        tracing::info!(file = %dir.join(FILE).display(), "making a password for the registry's clients");
        // 244 bits from the system's generator; letters and digits, so that it goes into a URL as it is
        Ok(format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()))
    })?;
    match kept.trim() {
        "" => Err(format!("{} is empty; remove it and a new one is made", dir.join(FILE).display())),
        kept => Ok(kept.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use actix_web::test::TestRequest;

    fn basic(pair: &str) -> HttpRequest {
        TestRequest::get().insert_header((header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))).to_http_request()
    }

    #[test]
    fn the_right_credentials_only() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Registry { password: Some(Secret::new("p:w")), ..Registry::default() };
        let (access, _) = Access::new(&settings, dir.path()).unwrap();
        assert!(access.write(&basic("tradepost:p:w")).is_ok());
        for wrong in ["tradepost:p", "tradepost:", ":p:w", "other:p:w", "tradepost"] {
            assert!(access.write(&basic(wrong)).is_err(), "{wrong}");
        }
        let none = TestRequest::get().to_http_request();
        assert_eq!(access.write(&none).unwrap_err().status, 401);
        assert!(access.read(&none).is_ok());
        assert!(Access { open_reads: false, ..access }.read(&none).is_err());
        assert!(!dir.path().join("registry").exists(), "none is made where one is set");
    }

    #[test]
    fn a_password_is_made_once_and_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (first, made) = Access::new(&Registry::default(), dir.path()).unwrap();
        let file = dir.path().join("registry/password");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let password = std::fs::read_to_string(file).unwrap();
        assert!(first.write(&basic(&format!("tradepost:{password}"))).is_ok() && password.len() == 64);
        assert_eq!((Access::new(&Registry::default(), dir.path()).unwrap().1, password), (made.clone(), made));
    }
}
