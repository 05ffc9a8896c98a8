//! Who may use the actuator with a user and a password: monitoring tools that know no tokens.

use super::basic::{Basic, CredentialsError};
use crate::rpc::context::Principal;
use crate::settings;
use actix_web::HttpRequest;
use actix_web::http::header;
use std::sync::Arc;

/// An operator's credentials. They count at the actuator and nowhere else.
pub struct Operator {
    basic: Basic,
    principal: Arc<Principal>,
}

impl Operator {
    /// By settings; none where no password is set. A user or a password that is empty is an error.
    pub fn new(settings: &settings::Actuator) -> Result<Option<Self>, CredentialsError> {
        let Some(password) = &settings.password else { return Ok(None) };
        if settings.user.is_empty() || settings.user.contains(':') {
            return Err(CredentialsError::User { setting: "actuator.user" });
        }
        let basic = Basic::of("actuator.password", &settings.user, password)?;
        let principal = Principal {
            subject: settings.user.clone(),
            username: settings.user.clone(),
            email: None,
            roles: vec!["admin".into()],
            // there is none: no peer is called in an operator's name
            token: String::new(),
        };
        Ok(Some(Self { basic, principal: Arc::new(principal) }))
    }

    /// Who it is, where the one `Authorization` header of the request has these credentials.
    pub fn sent(&self, request: &HttpRequest) -> Option<Arc<Principal>> {
        let once = request.headers().get_all(header::AUTHORIZATION).nth(1).is_none();
        (once && self.basic.sent_with(request)).then(|| self.principal.clone())
    }
}
