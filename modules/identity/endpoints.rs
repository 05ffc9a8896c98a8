//! The issuer's HTTP endpoints.

use super::issuer::Issuer;
use super::oauth::OAuthError;
use super::{grants, login, logout, lookups, realm};
use crate::rpc::contract::{Endpoint, RequiredRole};
use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

pub(super) fn endpoints(issuer: &Arc<Issuer>) -> Vec<Endpoint> {
    let (get, post) = (Method::GET, Method::POST);
    vec![
        endpoint(issuer, "discovery", &get, realm::DISCOVERY, lookups::discovery),
        endpoint(issuer, "certs", &get, realm::CERTS, lookups::certs),
        endpoint(issuer, "token", &post, realm::TOKEN, grants::token),
        endpoint(issuer, "introspect", &post, realm::INTROSPECT, lookups::introspect),
        endpoint(issuer, "auth", &get, realm::AUTH, login::show),
        endpoint(issuer, "login", &post, realm::AUTH, login::submit),
        endpoint(issuer, "userinfo", &get, realm::USERINFO, lookups::userinfo),
        endpoint(issuer, "userinfo", &post, realm::USERINFO, lookups::userinfo),
        endpoint(issuer, "logout", &get, realm::LOGOUT, logout::by_get),
        endpoint(issuer, "logout", &post, realm::LOGOUT, logout::by_post),
    ]
}

fn endpoint<F, Fut>(issuer: &Arc<Issuer>, name: &'static str, method: &Method, path: &'static str, serve: F) -> Endpoint
where
    F: Fn(Arc<Issuer>, HttpRequest, Payload) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<HttpResponse, OAuthError>> + 'static,
{
    let issuer = issuer.clone();
    Endpoint::raw("identity", name, method.clone(), path, RequiredRole::Public, move |_, request, payload| {
        let response = serve(issuer.clone(), request, payload);
        async move {
            match response.await {
                Ok(response) => Ok(response),
                Err(error) => error.respond().map_err(|problem| *problem),
            }
        }
    })
}
