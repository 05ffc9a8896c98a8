//! Eureka's calls over HTTP.
//!
//! Source: Netflix/eureka `ApplicationsResource`, `ApplicationResource`, `InstanceResource`,
//! `VIPResource`, `PeerReplicationResource`.

use super::leases::Renewed;
use super::replication::{self, List};
use super::state::Registry;
use super::validate::check;
use super::{body, page};
use crate::kernel::problem::Problem;
use crate::kernel::uri::{percent_decode, query_pairs, query_value};
use crate::rpc::contract::{Endpoint, RequiredRole};
use crate::rpc::discovery::eureka::instance::{Application, Instance, Status};
use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// A path under `/eureka` and `/eureka/v2`, with and without a slash at its end.
macro_rules! at {
    ($path:literal) => {
        concat!("/eureka{version:(/v2)?}", $path, "{end:/?}")
    };
}

pub(super) fn endpoints(registry: &Arc<Registry>) -> Vec<Endpoint> {
    let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
    vec![
        reading(registry, "dashboard", "/", page::show),
        reading(registry, "dashboard", "/eureka/web", page::show),
        reading(registry, "apps", at!("/apps"), all),
        reading(registry, "delta", at!("/apps/delta"), delta),
        reading(registry, "app", at!("/apps/{app}"), application),
        reading(registry, "instance", at!("/apps/{app}/{id}"), instance),
        reading(registry, "instance_by_id", at!("/instances/{id}"), by_id),
        reading(registry, "vip", at!("/vips/{vip}"), |r, q| by_address(r, q, |i| &i.vip_address)),
        reading(registry, "svip", at!("/svips/{vip}"), |r, q| by_address(r, q, |i| &i.secure_vip_address)),
        endpoint(registry, "register", post.clone(), at!("/apps/{app}"), register),
        endpoint(registry, "renew", put.clone(), at!("/apps/{app}/{id}"), renew),
        endpoint(registry, "cancel", delete.clone(), at!("/apps/{app}/{id}"), cancel),
        endpoint(registry, "override", put.clone(), at!("/apps/{app}/{id}/status"), set_status),
        endpoint(registry, "no_override", delete, at!("/apps/{app}/{id}/status"), unset_status),
        endpoint(registry, "metadata", put, at!("/apps/{app}/{id}/metadata"), metadata),
        endpoint(registry, "replicate", post, at!("/peerreplication/batch"), batch),
    ]
}

type Answer = Result<HttpResponse, Problem>;

/// The edge checks no token here: these callers have credentials of their own kind, checked before all else.
fn endpoint<F, Fut>(registry: &Arc<Registry>, name: &'static str, method: Method, path: &'static str, serve: F) -> Endpoint
where
    F: Fn(Arc<Registry>, HttpRequest, Payload) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + 'static,
{
    let registry = registry.clone();
    Endpoint::raw("registry", name, method, path, RequiredRole::Public, move |_, request, payload| {
        let answer = registry.access.write(&request).map(|()| serve(registry.clone(), request, payload));
        async move { answer?.await }
    })
}

fn reading(
    registry: &Arc<Registry>,
    name: &'static str,
    path: &'static str,
    serve: impl Fn(&Registry, &HttpRequest) -> Answer + Send + Sync + 'static,
) -> Endpoint {
    let registry = registry.clone();
    Endpoint::raw("registry", name, Method::GET, path, RequiredRole::Public, move |_, request, _| {
        let answer = registry.access.read(&request).and_then(|()| serve(&registry, &request));
        async { answer }
    })
}

fn all(registry: &Registry, request: &HttpRequest) -> Answer {
    let all = registry.leases().applications(|_| true);
    body::applications(request, &all)
}

fn delta(registry: &Registry, request: &HttpRequest) -> Answer {
    let changes = registry.leases().delta((registry.clock)());
    body::applications(request, &changes)
}

fn application(registry: &Registry, request: &HttpRequest) -> Answer {
    let name = app(request)?;
    let found: Option<Application> = registry.leases().applications(|instance| instance.app == name).application.pop();
    found.map_or_else(absent, |found| body::answer(request, "application", &found))
}

fn instance(registry: &Registry, request: &HttpRequest) -> Answer {
    let found = registry.leases().get(&app(request)?, &part(request, "id")?);
    found.map_or_else(absent, |found| body::answer(request, "instance", &*found))
}

fn by_id(registry: &Registry, request: &HttpRequest) -> Answer {
    let id = part(request, "id")?;
    let found = registry.leases().entries().find(|entry| entry.instance.instance_id == id).map(|entry| entry.instance.clone());
    found.map_or_else(absent, |found| body::answer(request, "instance", &*found))
}

fn by_address(registry: &Registry, request: &HttpRequest, of: fn(&Instance) -> &Option<String>) -> Answer {
    let wanted = part(request, "vip")?;
    let has = |instance: &Instance| of(instance).iter().flat_map(|all| all.split(',')).any(|vip| vip.trim().eq_ignore_ascii_case(&wanted));
    let found = registry.leases().applications(has);
    if found.application.is_empty() {
        return absent();
    }
    body::applications(request, &found)
}

async fn register(registry: Arc<Registry>, request: HttpRequest, payload: Payload) -> Answer {
    let mut instance: Instance = body::read(&request, payload, Some("instance"), registry.body_limit).await?;
    check(&app(&request)?, &mut instance)?;
    registry.register(instance, replica(&request));
    Ok(HttpResponse::NoContent().finish())
}

async fn renew(registry: Arc<Registry>, request: HttpRequest, _: Payload) -> Answer {
    let over = query(&request, "overriddenstatus").map(|name| Status::of(&name)).unwrap_or_default();
    match registry.renew(&app(&request)?, &part(&request, "id")?, dirty(&request)?, over, replica(&request)) {
        Renewed::Yes => Ok(HttpResponse::Ok().finish()),
        Renewed::Ours(ours) => body::answer(&request, "instance", &ours),
        Renewed::No => absent(),
    }
}

async fn cancel(registry: Arc<Registry>, request: HttpRequest, _: Payload) -> Answer {
    found(registry.cancel(&app(&request)?, &part(&request, "id")?, replica(&request)))
}

async fn set_status(registry: Arc<Registry>, request: HttpRequest, _: Payload) -> Answer {
    let value = query(&request, "value").unwrap_or_default();
    let status = Status::of(&value);
    if status.name() != value {
        return Err(Problem::field("value", "expected UP, DOWN, STARTING, OUT_OF_SERVICE or UNKNOWN"));
    }
    found(registry.set_status(&app(&request)?, &part(&request, "id")?, true, status, dirty(&request)?, replica(&request)))
}

async fn unset_status(registry: Arc<Registry>, request: HttpRequest, _: Payload) -> Answer {
    let status = query(&request, "value").map(|name| Status::of(&name)).unwrap_or_default();
    found(registry.set_status(&app(&request)?, &part(&request, "id")?, false, status, dirty(&request)?, replica(&request)))
}

async fn metadata(registry: Arc<Registry>, request: HttpRequest, _: Payload) -> Answer {
    found(registry.set_metadata(&app(&request)?, &part(&request, "id")?, query_pairs(request.query_string()).collect(), replica(&request)))
}

async fn batch(registry: Arc<Registry>, request: HttpRequest, payload: Payload) -> Answer {
    let list: List = body::read(&request, payload, None, registry.body_limit).await?;
    Ok(HttpResponse::Ok().json(replication::take(&registry, list)))
}

fn found(there: bool) -> Answer {
    if there { Ok(HttpResponse::Ok().finish()) } else { absent() }
}

/// No such instance. Without a body, as Eureka says it: Spring's client takes any body of an answer to
/// its renewal for an instance, fails over what is none, and so would never register again.
fn absent() -> Answer {
    Ok(HttpResponse::NotFound().finish())
}

fn app(request: &HttpRequest) -> Result<String, Problem> {
    Ok(part(request, "app")?.to_uppercase())
}

/// A part of the path; what the router left encoded is decoded here.
fn part(request: &HttpRequest, name: &str) -> Result<String, Problem> {
    let raw = request.match_info().get(name).unwrap_or_default();
    percent_decode(raw).ok_or_else(|| Problem::new(400, "the path is not well percent-encoded"))
}

fn query(request: &HttpRequest, name: &str) -> Option<String> {
    query_value(request.query_string(), name)
}

fn dirty(request: &HttpRequest) -> Result<Option<i64>, Problem> {
    let Some(text) = query(request, "lastDirtyTimestamp").filter(|text| !text.is_empty() && text != "null") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Problem::field("lastDirtyTimestamp", "expected milliseconds since 1970"))
}

fn replica(request: &HttpRequest) -> bool {
    request.headers().get("x-netflix-discovery-replication").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}
