//! Who may write to the registry: whoever registers an instance of a module is sent its calls, with
//! their bearer tokens. Eureka clients send Basic credentials, from their server's URL.

use crate::edge::auth::basic::{Basic, CredentialsError};
use crate::kernel::problem::Problem;
use crate::settings::Registry;
use actix_web::HttpRequest;
use std::path::Path;

/// Checks credentials.
pub(super) struct Access {
    basic: Basic,
    open_reads: bool,
}

impl Access {
    /// By settings; also the password. One that they do not have is made, and kept in `{data}/registry`.
    pub(super) fn new(settings: &Registry, data: &Path) -> Result<(Self, String), CredentialsError> {
        let (basic, password) = Basic::new("registry.password", &settings.user, settings.password.as_ref(), &data.join("registry"))?;
        Ok((Self { basic, open_reads: settings.open_reads }, password))
    }

    /// For reading.
    pub(super) fn read(&self, request: &HttpRequest) -> Result<(), Problem> {
        if self.open_reads { Ok(()) } else { self.write(request) }
    }

    /// For writing.
    pub(super) fn write(&self, request: &HttpRequest) -> Result<(), Problem> {
        if self.basic.sent_with(request) {
            return Ok(());
        }
        let mut problem = Problem::new(
            401,
            "the registry takes this with credentials only; clients have them in its URL: http://user:password@host:port/eureka",
        );
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
    fn reading_is_open_where_it_is_meant_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Registry { password: Some(Secret::new("pw")), ..Registry::default() };
        let (access, _) = Access::new(&settings, dir.path()).unwrap();
        let none = TestRequest::get().to_http_request();
        assert_eq!(access.write(&none).unwrap_err().status, 401);
        assert!(access.read(&none).is_ok());
        assert!(Access { open_reads: false, ..access }.read(&none).is_err());
    }
}
