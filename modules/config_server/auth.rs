//! Authentication of config clients: the server's Basic credentials, as Spring's clients send them, or an admin's token.

use crate::edge::auth::Authenticator;
use crate::edge::auth::basic::{BasicCredentials, CredentialsError};
use crate::edge::web::bearer_token;
use crate::kernel::problem::Problem;
use crate::settings::ConfigServer;
use actix_web::HttpRequest;
use actix_web::http::header;
use std::path::Path;

pub(super) struct ConfigServerAuth {
    basic: BasicCredentials,
    authenticator: Authenticator,
}

impl ConfigServerAuth {
    pub(super) fn new(settings: &ConfigServer, data: &Path, authenticator: Authenticator) -> Result<Self, CredentialsError> {
        let (basic, _) =
            BasicCredentials::new("config_server.password", &settings.user, settings.password.as_ref(), &data.join("config-server"))?;
        Ok(Self { basic, authenticator })
    }

    /// Every endpoint needs credentials, because settings contain secrets.
    pub(super) async fn check(&self, request: &HttpRequest) -> Result<(), Problem> {
        if self.basic.matches_request(request) {
            return Ok(());
        }
        let authorization = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        if authorization.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer ")) {
            let caller = self.authenticator.authenticate(&bearer_token(request)?).await?;
            let is_admin = caller.roles.iter().any(|role| role == "admin");
            return if is_admin {
                Ok(())
            } else {
                Err(Problem::forbidden("this needs the role admin, or the config server's credentials"))
            };
        }
        let mut problem =
            Problem::new(401, "credentials are required; clients set them in the config server's URL: http://user:password@host:port");
        problem.challenge = Some("Basic realm=\"config\", charset=\"UTF-8\"".into());
        Err(problem)
    }
}
