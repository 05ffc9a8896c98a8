//! Basic authentication at the actuator, for monitoring tools without support for tokens.

use super::basic::{BasicCredentials, CredentialsError};
use crate::rpc::context::Principal;
use crate::settings;
use actix_web::HttpRequest;
use actix_web::http::header;
use std::sync::Arc;

/// An operator's credentials; valid at the actuator only.
pub struct Operator {
    basic: BasicCredentials,
    principal: Arc<Principal>,
}

impl Operator {
    /// `None` if settings have no password. An empty user or password is an error.
    pub fn new(settings: &settings::Actuator) -> Result<Option<Self>, CredentialsError> {
        let Some(password) = &settings.password else { return Ok(None) };
        if settings.user.is_empty() || settings.user.contains(':') {
            return Err(CredentialsError::User { setting: "actuator.user" });
        }
        let basic = BasicCredentials::of("actuator.password", &settings.user, password)?;
        let principal = Principal {
            subject: settings.user.clone(),
            username: settings.user.clone(),
            email: None,
            roles: vec!["admin".into()],
            // Empty: the actuator calls no peers for an operator.
            token: String::new(),
        };
        Ok(Some(Self { basic, principal: Arc::new(principal) }))
    }

    /// The operator, if the request's only `Authorization` header has these credentials.
    pub fn authenticate(&self, request: &HttpRequest) -> Option<Arc<Principal>> {
        let once = request.headers().get_all(header::AUTHORIZATION).nth(1).is_none();
        (once && self.basic.matches_request(request)).then(|| self.principal.clone())
    }
}
