//! HTTP endpoints of the Eureka protocol.
//!
//! Source: Netflix/eureka `ApplicationsResource`, `ApplicationResource`, `InstanceResource`,
//! `VIPResource`, `PeerReplicationResource`.

use super::leases::Renewal;
use super::replication::{self, ReplicationList};
use super::state::Registry;
use super::validate::validate;
use super::{body, dashboard};
use crate::kernel::problem::Problem;
use crate::kernel::uri::{percent_decode, query_pairs, query_value};
use crate::rpc::contract::{Endpoint, RequiredRole};
use crate::rpc::discovery::eureka::instance::{Application, Instance, Status};
use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// A path under `/eureka` and `/eureka/v2`, with and without a trailing slash.
macro_rules! eureka_path {
    ($path:literal) => {
        concat!("/eureka{version:(/v2)?}", $path, "{end:/?}")
    };
}

pub(super) fn endpoints(registry: &Arc<Registry>) -> Vec<Endpoint> {
    let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
    vec![
        read_endpoint(registry, "dashboard", "/", dashboard::render_dashboard),
        read_endpoint(registry, "dashboard", "/eureka/web", dashboard::render_dashboard),
        read_endpoint(registry, "apps", eureka_path!("/apps"), applications),
        read_endpoint(registry, "delta", eureka_path!("/apps/delta"), delta),
        read_endpoint(registry, "app", eureka_path!("/apps/{app}"), application),
        read_endpoint(registry, "instance", eureka_path!("/apps/{app}/{id}"), instance),
        read_endpoint(registry, "instance_by_id", eureka_path!("/instances/{id}"), by_id),
        read_endpoint(registry, "vip", eureka_path!("/vips/{vip}"), |r, q| by_address(r, q, |i| &i.vip_address)),
        read_endpoint(registry, "svip", eureka_path!("/svips/{vip}"), |r, q| by_address(r, q, |i| &i.secure_vip_address)),
        write_endpoint(registry, "register", post.clone(), eureka_path!("/apps/{app}"), register),
        write_endpoint(registry, "renew", put.clone(), eureka_path!("/apps/{app}/{id}"), renew),
        write_endpoint(registry, "cancel", delete.clone(), eureka_path!("/apps/{app}/{id}"), cancel),
        write_endpoint(registry, "override", put.clone(), eureka_path!("/apps/{app}/{id}/status"), set_status),
        write_endpoint(registry, "no_override", delete, eureka_path!("/apps/{app}/{id}/status"), unset_status),
        write_endpoint(registry, "metadata", put, eureka_path!("/apps/{app}/{id}/metadata"), metadata),
        write_endpoint(registry, "replicate", post, eureka_path!("/peerreplication/batch"), batch),
    ]
}

type HttpResult = Result<HttpResponse, Problem>;

/// Public for the edge: Eureka clients send Basic credentials, which this function checks first.
fn write_endpoint<F, Fut>(registry: &Arc<Registry>, name: &'static str, method: Method, path: &'static str, serve: F) -> Endpoint
where
    F: Fn(Arc<Registry>, HttpRequest, Payload) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = HttpResult> + 'static,
{
    let registry = registry.clone();
    Endpoint::raw("registry", name, method, path, RequiredRole::Public, move |_, request, payload| {
        let response = registry.auth.check_write(&request).map(|()| serve(registry.clone(), request, payload));
        async move { response?.await }
    })
}

fn read_endpoint(
    registry: &Arc<Registry>,
    name: &'static str,
    path: &'static str,
    serve: impl Fn(&Registry, &HttpRequest) -> HttpResult + Send + Sync + 'static,
) -> Endpoint {
    let registry = registry.clone();
    Endpoint::raw("registry", name, Method::GET, path, RequiredRole::Public, move |_, request, _| {
        let response = registry.auth.check_read(&request).and_then(|()| serve(&registry, &request));
        async { response }
    })
}

fn applications(registry: &Registry, request: &HttpRequest) -> HttpResult {
    let all = registry.leases().applications(|_| true);
    body::respond_applications(request, &all)
}

fn delta(registry: &Registry, request: &HttpRequest) -> HttpResult {
    let changes = registry.leases().delta((registry.clock)());
    body::respond_applications(request, &changes)
}

fn application(registry: &Registry, request: &HttpRequest) -> HttpResult {
    let name = app(request)?;
    let found: Option<Application> = registry.leases().applications(|instance| instance.app == name).application.pop();
    found.map_or_else(not_found, |found| body::respond(request, "application", &found))
}

fn instance(registry: &Registry, request: &HttpRequest) -> HttpResult {
    let found = registry.leases().get(&app(request)?, &path_segment(request, "id")?);
    found.map_or_else(not_found, |found| body::respond(request, "instance", &*found))
}

fn by_id(registry: &Registry, request: &HttpRequest) -> HttpResult {
    let id = path_segment(request, "id")?;
    let found = registry.leases().entries().find(|entry| entry.instance.instance_id == id).map(|entry| entry.instance.clone());
    found.map_or_else(not_found, |found| body::respond(request, "instance", &*found))
}

fn by_address(registry: &Registry, request: &HttpRequest, of: fn(&Instance) -> &Option<String>) -> HttpResult {
    let wanted = path_segment(request, "vip")?;
    let has_address =
        |instance: &Instance| of(instance).iter().flat_map(|all| all.split(',')).any(|vip| vip.trim().eq_ignore_ascii_case(&wanted));
    let found = registry.leases().applications(has_address);
    if found.application.is_empty() {
        return not_found();
    }
    body::respond_applications(request, &found)
}

async fn register(registry: Arc<Registry>, request: HttpRequest, payload: Payload) -> HttpResult {
    let mut instance: Instance = body::read(&request, payload, Some("instance"), registry.body_limit).await?;
    validate(&app(&request)?, &mut instance)?;
    registry.register(instance, is_replica(&request));
    Ok(HttpResponse::NoContent().finish())
}

async fn renew(registry: Arc<Registry>, request: HttpRequest, _: Payload) -> HttpResult {
    let over = query(&request, "overriddenstatus").map(|name| Status::of(&name)).unwrap_or_default();
    match registry.renew(&app(&request)?, &path_segment(&request, "id")?, last_dirty_timestamp(&request)?, over, is_replica(&request)) {
        Renewal::Renewed => Ok(HttpResponse::Ok().finish()),
        Renewal::Newer(instance) => body::respond(&request, "instance", &instance),
        Renewal::Unknown => not_found(),
    }
}

async fn cancel(registry: Arc<Registry>, request: HttpRequest, _: Payload) -> HttpResult {
    ok_or_not_found(registry.cancel(&app(&request)?, &path_segment(&request, "id")?, is_replica(&request)))
}

async fn set_status(registry: Arc<Registry>, request: HttpRequest, _: Payload) -> HttpResult {
    let value = query(&request, "value").unwrap_or_default();
    let status = Status::of(&value);
    if status.name() != value {
        return Err(Problem::invalid_field("value", "expected UP, DOWN, STARTING, OUT_OF_SERVICE or UNKNOWN"));
    }
    ok_or_not_found(registry.set_status(
        &app(&request)?,
        &path_segment(&request, "id")?,
        true,
        status,
        last_dirty_timestamp(&request)?,
        is_replica(&request),
    ))
}

async fn unset_status(registry: Arc<Registry>, request: HttpRequest, _: Payload) -> HttpResult {
    let status = query(&request, "value").map(|name| Status::of(&name)).unwrap_or_default();
    ok_or_not_found(registry.set_status(
        &app(&request)?,
        &path_segment(&request, "id")?,
        false,
        status,
        last_dirty_timestamp(&request)?,
        is_replica(&request),
    ))
}

async fn metadata(registry: Arc<Registry>, request: HttpRequest, _: Payload) -> HttpResult {
    ok_or_not_found(registry.set_metadata(
        &app(&request)?,
        &path_segment(&request, "id")?,
        query_pairs(request.query_string()).collect(),
        is_replica(&request),
    ))
}

async fn batch(registry: Arc<Registry>, request: HttpRequest, payload: Payload) -> HttpResult {
    let list: ReplicationList = body::read(&request, payload, None, registry.body_limit).await?;
    Ok(HttpResponse::Ok().json(replication::apply_batch(&registry, list)))
}

fn ok_or_not_found(found: bool) -> HttpResult {
    if found { Ok(HttpResponse::Ok().finish()) } else { not_found() }
}

/// Without a body, as in Eureka: Spring's client parses any body of a renewal's response as an instance. If that
/// fails, it never registers again.
fn not_found() -> HttpResult {
    Ok(HttpResponse::NotFound().finish())
}

fn app(request: &HttpRequest) -> Result<String, Problem> {
    Ok(path_segment(request, "app")?.to_uppercase())
}

/// The router leaves some escapes encoded; decodes them.
fn path_segment(request: &HttpRequest, name: &str) -> Result<String, Problem> {
    let raw = request.match_info().get(name).unwrap_or_default();
    percent_decode(raw).ok_or_else(|| Problem::new(400, "the path is not well percent-encoded"))
}

fn query(request: &HttpRequest, name: &str) -> Option<String> {
    query_value(request.query_string(), name)
}

fn last_dirty_timestamp(request: &HttpRequest) -> Result<Option<i64>, Problem> {
    let Some(text) = query(request, "lastDirtyTimestamp").filter(|text| !text.is_empty() && text != "null") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Problem::invalid_field("lastDirtyTimestamp", "expected milliseconds since 1970"))
}

fn is_replica(request: &HttpRequest) -> bool {
    request.headers().get("x-netflix-discovery-replication").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}
