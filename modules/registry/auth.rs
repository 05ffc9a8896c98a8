//! Authentication of Eureka clients: Basic credentials from their server URL. Writing needs them always, because a
//! registered instance receives its module's calls, with their bearer tokens.

use crate::edge::auth::basic::{BasicCredentials, CredentialsError};
use crate::kernel::problem::Problem;
use crate::settings::Registry;
use actix_web::HttpRequest;
use std::path::Path;

pub(super) struct RegistryAuth {
    basic: BasicCredentials,
    open_reads: bool,
}

impl RegistryAuth {
    /// Also returns the password. Without one in the settings, generates it and stores it in `{data}/registry`.
    pub(super) fn new(settings: &Registry, data: &Path) -> Result<(Self, String), CredentialsError> {
        let (basic, password) =
            BasicCredentials::new("registry.password", &settings.user, settings.password.as_ref(), &data.join("registry"))?;
        Ok((Self { basic, open_reads: settings.open_reads }, password))
    }

    pub(super) fn check_read(&self, request: &HttpRequest) -> Result<(), Problem> {
        if self.open_reads { Ok(()) } else { self.check_write(request) }
    }

    pub(super) fn check_write(&self, request: &HttpRequest) -> Result<(), Problem> {
        if self.basic.matches_request(request) {
            return Ok(());
        }
        let mut problem =
            Problem::new(401, "credentials are required; clients set them in the registry's URL: http://user:password@host:port/eureka");
        problem.challenge = Some("Basic realm=\"registry\", charset=\"UTF-8\"".into());
        Err(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::secret::Secret;
    use actix_web::test::TestRequest;

    #[test]
    fn read_without_credentials_follows_open_reads() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Registry { password: Some(Secret::new("pw")), ..Registry::default() };
        let (auth, _) = RegistryAuth::new(&settings, dir.path()).unwrap();
        let none = TestRequest::get().to_http_request();
        assert_eq!(auth.check_write(&none).unwrap_err().status, 401);
        assert!(auth.check_read(&none).is_ok());
        assert!(RegistryAuth { open_reads: false, ..auth }.check_read(&none).is_err());
    }
}
