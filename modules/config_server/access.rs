//! Who may read settings: clients with the server's credentials, as Spring's send them, and admins.

use crate::edge::auth::Authenticator;
use crate::edge::auth::basic::{Basic, CredentialsError};
use crate::edge::web::bearer;
use crate::kernel::problem::Problem;
use crate::settings::ConfigServer;
use actix_web::HttpRequest;
use actix_web::http::header;
use std::path::Path;

/// Checks credentials.
pub(super) struct Access {
    basic: Basic,
    authenticator: Authenticator,
}

impl Access {
    pub(super) fn new(settings: &ConfigServer, data: &Path, authenticator: Authenticator) -> Result<Self, CredentialsError> {
        let (basic, _) = Basic::new("config_server.password", &settings.user, settings.password.as_ref(), &data.join("config-server"))?;
        Ok(Self { basic, authenticator })
    }

    /// What a config server knows are secrets: nothing is open.
    pub(super) async fn check(&self, request: &HttpRequest) -> Result<(), Problem> {
        if self.basic.sent_with(request) {
            return Ok(());
        }
        let sent = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        if sent.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer ")) {
            let caller = self.authenticator.authenticate(&bearer(request)?).await?;
            let admin = caller.roles.iter().any(|role| role == "admin");
            return if admin { Ok(()) } else { Err(Problem::forbidden("this needs the role admin, or the config server's credentials")) };
        }
        let mut problem = Problem::new(
            401,
            "the config server answers with credentials only; clients have them in its URL: http://user:password@host:port",
        );
        problem.challenge = Some("Basic realm=\"config\", charset=\"UTF-8\"".into());
        Err(problem)
    }
}
