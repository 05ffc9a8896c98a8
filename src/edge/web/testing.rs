//! For unit tests: an edge without a gateway, and an app that is called without a socket.

use super::{Edge, configure};
use crate::edge::auth::Authenticator;
use crate::rpc::contract::Endpoint;
use crate::rpc::oidc::OidcClient;
use actix_web::body::to_bytes;
use actix_web::dev::Service;
use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, init_service};
use actix_web::web::Bytes;
use futures_util::future::LocalBoxFuture;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// An edge that accepts tokens of this issuer.
pub(crate) fn edge(issuer: &str) -> Edge {
    Edge {
        authenticator: Authenticator::new(Arc::new(OidcClient::new(issuer, None)), "tradepost"),
        operator: None,
        exchanges: Arc::default(),
        body_limit: 1 << 20,
        timeout: Duration::from_secs(60),
        origins: vec![],
        gateway: None,
        shutting_down: Default::default(),
    }
}

/// The URL of an unreachable issuer.
pub(crate) const NO_ISSUER: &str = "http://127.0.0.1:9";

/// Calls the app; returns status, headers and body.
pub(crate) type App = Rc<dyn Fn(TestRequest) -> LocalBoxFuture<'static, (u16, HeaderMap, Bytes)>>;

pub(crate) async fn app(endpoints: Vec<Endpoint>, edge: Arc<Edge>) -> App {
    let service = Rc::new(init_service(actix_web::App::new().configure(move |c| configure(c, &endpoints, &edge))).await);
    Rc::new(move |request| {
        let service = service.clone();
        Box::pin(async move {
            let response = service.call(request.to_request()).await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            (status, headers, to_bytes(response.into_body()).await.ok().unwrap())
        })
    })
}
