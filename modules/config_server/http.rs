//! HTTP endpoints of the Spring Cloud Config protocol.
//!
//! Source: spring-cloud-config `EnvironmentController`, `ResourceController`, `EncryptionController`,
//! `PropertyPathEndpoint`.

use super::environment::{Environment, strip_key_selectors};
use super::monitor;
use super::request::{ConfigRequest, check_path};
use super::server::ConfigServer;
use super::text::{self, TextFormat};
use crate::edge::web::read_body;
use crate::kernel::problem::Problem;
use crate::kernel::uri::{percent_decode, query_value};
use crate::rpc::contract::{Endpoint, RequiredRole};
use actix_web::dev::Payload;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use std::sync::Arc;

/// The media type that Spring Cloud Config clients accept.
const V2: &str = "application/vnd.spring-cloud.config-server.v2+json";
const MAX_BODY_BYTES: usize = 1 << 20;

type HttpResult = Result<HttpResponse, Problem>;

/// A path at the root if the module is alone in its process; else below `/config`.
macro_rules! config_path {
    ($alone:expr, $path:literal) => {
        if $alone { $path } else { concat!("/config", $path) }
    };
}

pub(super) fn endpoints(server: &Arc<ConfigServer>, alone: bool) -> Vec<Endpoint> {
    let (get, post) = (Method::GET, Method::POST);
    vec![
        endpoint(server, "encrypt_status", get.clone(), config_path!(alone, "/encrypt/status"), encrypt_status),
        endpoint(server, "encrypt", post.clone(), config_path!(alone, "/encrypt"), encrypt),
        endpoint(server, "encrypt_for", post.clone(), config_path!(alone, "/encrypt/{name}/{profiles}"), encrypt),
        endpoint(server, "decrypt", post.clone(), config_path!(alone, "/decrypt"), decrypt),
        endpoint(server, "decrypt_for", post.clone(), config_path!(alone, "/decrypt/{name}/{profiles}"), decrypt),
        endpoint(server, "monitor", post, config_path!(alone, "/monitor"), receive_push),
        endpoint(server, "text", get.clone(), config_path!(alone, "/{file}"), text),
        endpoint(server, "environment", get.clone(), config_path!(alone, "/{name}/{profiles}"), environment),
        endpoint(server, "labelled", get.clone(), config_path!(alone, "/{name}/{profiles}/{label}"), environment),
        endpoint(server, "file", get, config_path!(alone, "/{name}/{profiles}/{label}/{path:.+}"), file),
    ]
}

/// Public for the edge: config clients send Basic credentials, which this function checks first.
fn endpoint<F, Fut>(server: &Arc<ConfigServer>, name: &'static str, method: Method, path: &'static str, serve: F) -> Endpoint
where
    F: Fn(Arc<ConfigServer>, HttpRequest, Payload) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = HttpResult> + 'static,
{
    let server = server.clone();
    Endpoint::raw("config-server", name, method, path, RequiredRole::Public, move |_, request, payload| {
        let (server, serve) = (server.clone(), serve.clone());
        async move {
            server.auth.check(&request).await?;
            let mut response = serve(server, request, payload).await?;
            // responses contain secrets
            response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
            Ok(response)
        }
    })
}

/// Decodes exactly once.
fn path_segment(request: &HttpRequest, name: &'static str) -> Result<String, Problem> {
    let raw = request.match_info().get(name).unwrap_or_default();
    percent_decode(raw)
        .filter(|text| !text.contains('\u{fffd}'))
        .ok_or_else(|| Problem::invalid_field(name, "is not percent-encoded UTF-8"))
}

fn query(request: &HttpRequest, name: &str) -> Option<String> {
    query_value(request.query_string(), name)
}

/// `resolvePlaceholders`, by default true.
fn resolve_placeholders(request: &HttpRequest) -> Result<bool, Problem> {
    match query(request, "resolvePlaceholders").as_deref() {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(Problem::invalid_field("resolvePlaceholders", "expected true or false")),
    }
}

/// The requested settings, with the client's Vault token.
fn config_request(request: &HttpRequest, name: &str, profiles: &str, label: Option<&str>) -> Result<ConfigRequest, Problem> {
    let config_request = ConfigRequest::new(name, profiles, label)?;
    #[cfg(feature = "vault")]
    let config_request = ConfigRequest { token: super::vault::client_token(request)?, ..config_request };
    #[cfg(not(feature = "vault"))]
    let _ = request;
    Ok(config_request)
}

async fn environment(server: Arc<ConfigServer>, request: HttpRequest, _: Payload) -> HttpResult {
    let (name, profiles) = (path_segment(&request, "name")?, path_segment(&request, "profiles")?);
    let label = request.match_info().get("label").map(|_| path_segment(&request, "label")).transpose()?;
    match label {
        // these two segments are a label and a file
        None if TextFormat::of(&profiles).is_some() => rendered_text(&server, &request, &profiles, Some(&name)).await,
        Some(file) if query(&request, "useDefaultLabel").is_some() => plain_file(&server, &request, &name, &profiles, None, &file).await,
        label => {
            let config_request = config_request(&request, &name, &profiles, label.as_deref())?;
            let environment = Environment::load(&server.backend, server.cipher.as_ref(), &config_request).await?;
            let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
            let media_type = if accept.contains(V2) { V2 } else { "application/json" };
            let body = serde_json::to_vec(&environment).map_err(Problem::internal)?;
            Ok(HttpResponse::Ok().content_type(media_type).body(body))
        }
    }
}

async fn text(server: Arc<ConfigServer>, request: HttpRequest, _: Payload) -> HttpResult {
    let file = path_segment(&request, "file")?;
    rendered_text(&server, &request, &file, None).await
}

/// `{name}-{profiles}.{extension}`
async fn rendered_text(server: &ConfigServer, request: &HttpRequest, file: &str, label: Option<&str>) -> HttpResult {
    let not_found = || Problem::new(404, "there is nothing at this path; expected /{name}/{profiles} or /{name}-{profiles}.yml");
    let (stem, format) = TextFormat::of(file).ok_or_else(not_found)?;
    let (name, profiles) = stem.rsplit_once('-').ok_or_else(not_found)?;
    let config_request = config_request(request, name, profiles, label)?;
    let resolve = resolve_placeholders(request)?;
    let environment = Environment::load(&server.backend, server.cipher.as_ref(), &config_request).await?;
    Ok(HttpResponse::Ok().content_type(format.media_type()).body(text::render(&environment, format, resolve)?))
}

async fn file(server: Arc<ConfigServer>, request: HttpRequest, _: Payload) -> HttpResult {
    let (name, profiles) = (path_segment(&request, "name")?, path_segment(&request, "profiles")?);
    let (label, path) = (path_segment(&request, "label")?, path_segment(&request, "path")?);
    plain_file(&server, &request, &name, &profiles, Some(&label), &path).await
}

/// A file without parsing; a variant for a profile comes first: `logback-prod.xml` before `logback.xml`.
async fn plain_file(
    server: &ConfigServer,
    request: &HttpRequest,
    name: &str,
    profiles: &str,
    label: Option<&str>,
    path: &str,
) -> HttpResult {
    check_path("path", path)?;
    let config_request = ConfigRequest::new(name, profiles, label)?;
    let resolve = resolve_placeholders(request)?;
    let revision = server.backend.resolve(&config_request).await?;
    let variant = |profile: &String| match path.rsplit_once('.').filter(|(_, extension)| !extension.contains('/')) {
        Some((stem, extension)) => format!("{stem}-{profile}.{extension}"),
        None => format!("{path}-{profile}"),
    };
    let mut paths: Vec<String> = config_request.profiles.iter().filter(|profile| *profile != "default").map(variant).collect();
    paths.push(path.to_string());
    let candidates: Vec<_> = revision.folders.iter().flat_map(|folder| paths.iter().map(move |path| format!("{folder}{path}"))).collect();
    let contents = server.backend.read(&revision, candidates).await?;
    let bytes = contents.into_iter().flatten().next().ok_or_else(|| Problem::new(404, format!("there is no file {path}")))?;
    let accept = request.headers().get(header::ACCEPT).map_or(&b""[..], |accept| accept.as_bytes());
    if accept == b"application/octet-stream" {
        return Ok(HttpResponse::Ok().content_type("application/octet-stream").body(bytes));
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if resolve {
        let environment = Environment::load_revision(&server.backend, server.cipher.as_ref(), &config_request, &revision).await?;
        text = environment.resolve_placeholders(&text)?;
    }
    Ok(HttpResponse::Ok().content_type("text/plain;charset=UTF-8").body(text))
}

/// An error in the form that Spring's tools parse.
fn spring_error(status: StatusCode, name: &str, description: &str) -> HttpResult {
    Ok(HttpResponse::build(status).json(json!({ "status": name, "description": description })))
}

fn no_key() -> HttpResult {
    spring_error(StatusCode::NOT_FOUND, "NO_KEY", "No key was installed for encryption service")
}

async fn encrypt_status(server: Arc<ConfigServer>, _: HttpRequest, _: Payload) -> HttpResult {
    if server.cipher.is_some() { Ok(HttpResponse::Ok().json(json!({ "status": "OK" }))) } else { no_key() }
}

async fn encrypt(server: Arc<ConfigServer>, request: HttpRequest, payload: Payload) -> HttpResult {
    let Some(cipher) = &server.cipher else { return no_key() };
    let text = text_body(&request, payload).await?;
    Ok(HttpResponse::Ok().content_type("text/plain;charset=UTF-8").body(cipher.encrypt(strip_key_selectors(&text))))
}

async fn decrypt(server: Arc<ConfigServer>, request: HttpRequest, payload: Payload) -> HttpResult {
    let Some(cipher) = &server.cipher else { return no_key() };
    let text = text_body(&request, payload).await?;
    match cipher.decrypt(strip_key_selectors(text.strip_prefix("{cipher}").unwrap_or(&text))) {
        Some(text) => Ok(HttpResponse::Ok().content_type("text/plain;charset=UTF-8").body(text)),
        None => spring_error(StatusCode::BAD_REQUEST, "INVALID", "Text not encrypted with this key"),
    }
}

/// The body as text. Without an explicit type, curl declares a form: the text is then a field name without a value.
async fn text_body(request: &HttpRequest, payload: Payload) -> Result<String, Problem> {
    let body = read_body(request, payload, MAX_BODY_BYTES).await?;
    let text = String::from_utf8(body.to_vec()).map_err(|_| Problem::new(400, "the body is not UTF-8"))?;
    let is_plain_text = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    match text.strip_suffix('=').filter(|_| !is_plain_text) {
        Some(form) => percent_decode(&form.replace('+', " ")).ok_or_else(|| Problem::new(400, "the body is not a well-formed form")),
        None => Ok(text),
    }
}

async fn receive_push(server: Arc<ConfigServer>, request: HttpRequest, payload: Payload) -> HttpResult {
    let body = read_body(&request, payload, MAX_BODY_BYTES).await?;
    server.backend.refresh().await?;
    let applications = monitor::applications(&body);
    tracing::info!(
        applications = applications.join(","),
        "repository changed; POST /actuator/refresh reloads the settings of an application"
    );
    Ok(HttpResponse::Ok().json(applications))
}
