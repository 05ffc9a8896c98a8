//! The config server's calls over HTTP.
//!
//! Source: spring-cloud-config `EnvironmentController`, `ResourceController`, `EncryptionController`,
//! `PropertyPathEndpoint`.

use super::environment::{Environment, without_prefix};
use super::monitor;
use super::request::{Wanted, fits};
use super::server::ConfigServer;
use super::text::{self, Form};
use crate::edge::web::read_body;
use crate::kernel::problem::Problem;
use crate::kernel::uri::{percent_decode, query_value};
use crate::rpc::contract::{Endpoint, RequiredRole};
use actix_web::dev::Payload;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use std::sync::Arc;

/// What the server's own clients ask for.
const V2: &str = "application/vnd.spring-cloud.config-server.v2+json";
/// A value to encrypt, or a forge's word on what was pushed.
const LARGEST_BODY: usize = 1 << 20;

type Answer = Result<HttpResponse, Problem>;

/// A path at the root where the server is alone in its process, below `/config` where it is not.
macro_rules! at {
    ($alone:expr, $path:literal) => {
        if $alone { $path } else { concat!("/config", $path) }
    };
}

pub(super) fn endpoints(server: &Arc<ConfigServer>, alone: bool) -> Vec<Endpoint> {
    let (get, post) = (Method::GET, Method::POST);
    vec![
        endpoint(server, "encrypt_status", get.clone(), at!(alone, "/encrypt/status"), encrypt_status),
        endpoint(server, "encrypt", post.clone(), at!(alone, "/encrypt"), encrypt),
        endpoint(server, "encrypt_for", post.clone(), at!(alone, "/encrypt/{name}/{profiles}"), encrypt),
        endpoint(server, "decrypt", post.clone(), at!(alone, "/decrypt"), decrypt),
        endpoint(server, "decrypt_for", post.clone(), at!(alone, "/decrypt/{name}/{profiles}"), decrypt),
        endpoint(server, "monitor", post, at!(alone, "/monitor"), changed),
        endpoint(server, "text", get.clone(), at!(alone, "/{file}"), text),
        endpoint(server, "environment", get.clone(), at!(alone, "/{name}/{profiles}"), environment),
        endpoint(server, "labelled", get.clone(), at!(alone, "/{name}/{profiles}/{label}"), environment),
        endpoint(server, "file", get, at!(alone, "/{name}/{profiles}/{label}/{path:.+}"), file),
    ]
}

/// The edge checks nothing here: clients of a config server have credentials of its own kind.
fn endpoint<F, Fut>(server: &Arc<ConfigServer>, name: &'static str, method: Method, path: &'static str, serve: F) -> Endpoint
where
    F: Fn(Arc<ConfigServer>, HttpRequest, Payload) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = Answer> + 'static,
{
    let server = server.clone();
    Endpoint::raw("config-server", name, method, path, RequiredRole::Public, move |_, request, payload| {
        let (server, serve) = (server.clone(), serve.clone());
        async move {
            server.access.check(&request).await?;
            let mut response = serve(server, request, payload).await?;
            // these are secrets: nobody on the way keeps them
            response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
            Ok(response)
        }
    })
}

/// A part of the path, decoded once.
fn part(request: &HttpRequest, name: &'static str) -> Result<String, Problem> {
    let raw = request.match_info().get(name).unwrap_or_default();
    percent_decode(raw).filter(|text| !text.contains('\u{fffd}')).ok_or_else(|| Problem::field(name, "is not percent-encoded UTF-8"))
}

fn asked(request: &HttpRequest, name: &str) -> Option<String> {
    query_value(request.query_string(), name)
}

/// `resolvePlaceholders`: by default yes.
fn resolves(request: &HttpRequest) -> Result<bool, Problem> {
    match asked(request, "resolvePlaceholders").as_deref() {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(Problem::field("resolvePlaceholders", "expected true or false")),
    }
}

/// Whose settings, and in whose name.
fn wanted(request: &HttpRequest, name: &str, profiles: &str, label: Option<&str>) -> Result<Wanted, Problem> {
    let wanted = Wanted::new(name, profiles, label)?;
    #[cfg(feature = "vault")]
    let wanted = Wanted { token: super::vault::sent_token(request)?, ..wanted };
    #[cfg(not(feature = "vault"))]
    let _ = request;
    Ok(wanted)
}

async fn environment(server: Arc<ConfigServer>, request: HttpRequest, _: Payload) -> Answer {
    let (name, profiles) = (part(&request, "name")?, part(&request, "profiles")?);
    let label = request.match_info().get("label").map(|_| part(&request, "label")).transpose()?;
    match label {
        // a label and a file, then
        None if Form::of(&profiles).is_some() => as_text(&server, &request, &profiles, Some(&name)).await,
        Some(file) if asked(&request, "useDefaultLabel").is_some() => plain_file(&server, &request, &name, &profiles, None, &file).await,
        label => {
            let wanted = wanted(&request, &name, &profiles, label.as_deref())?;
            let found = Environment::find(&server.backend, server.cipher.as_ref(), &wanted).await?;
            let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
            let media = if accept.contains(V2) { V2 } else { "application/json" };
            let body = serde_json::to_vec(&found).map_err(Problem::internal)?;
            Ok(HttpResponse::Ok().content_type(media).body(body))
        }
    }
}

async fn text(server: Arc<ConfigServer>, request: HttpRequest, _: Payload) -> Answer {
    let file = part(&request, "file")?;
    as_text(&server, &request, &file, None).await
}

/// `name-profile.ending`
async fn as_text(server: &ConfigServer, request: &HttpRequest, file: &str, label: Option<&str>) -> Answer {
    let nothing = || Problem::new(404, "there is nothing at this path; expected /{name}/{profiles} or /{name}-{profiles}.yml");
    let (stem, form) = Form::of(file).ok_or_else(nothing)?;
    let (name, profiles) = stem.rsplit_once('-').ok_or_else(nothing)?;
    let wanted = wanted(request, name, profiles, label)?;
    let resolve = resolves(request)?;
    let found = Environment::find(&server.backend, server.cipher.as_ref(), &wanted).await?;
    Ok(HttpResponse::Ok().content_type(form.media()).body(text::write(&found, form, resolve)?))
}

async fn file(server: Arc<ConfigServer>, request: HttpRequest, _: Payload) -> Answer {
    let (name, profiles) = (part(&request, "name")?, part(&request, "profiles")?);
    let (label, path) = (part(&request, "label")?, part(&request, "path")?);
    plain_file(&server, &request, &name, &profiles, Some(&label), &path).await
}

/// A file as it is, or its variant for a profile: `logback-prod.xml` before `logback.xml`.
async fn plain_file(server: &ConfigServer, request: &HttpRequest, name: &str, profiles: &str, label: Option<&str>, path: &str) -> Answer {
    fits("path", path)?;
    let wanted = Wanted::new(name, profiles, label)?;
    let resolve = resolves(request)?;
    let state = server.backend.at(&wanted).await?;
    let variant = |profile: &String| match path.rsplit_once('.').filter(|(_, ending)| !ending.contains('/')) {
        Some((stem, ending)) => format!("{stem}-{profile}.{ending}"),
        None => format!("{path}-{profile}"),
    };
    let mut paths: Vec<String> = wanted.profiles.iter().filter(|profile| *profile != "default").map(variant).collect();
    paths.push(path.to_string());
    let candidates: Vec<_> = state.folders.iter().flat_map(|folder| paths.iter().map(move |path| format!("{folder}{path}"))).collect();
    let contents = server.backend.read(&state, candidates).await?;
    let bytes = contents.into_iter().flatten().next().ok_or_else(|| Problem::new(404, format!("there is no file {path}")))?;
    let accept = request.headers().get(header::ACCEPT).map_or(&b""[..], |accept| accept.as_bytes());
    if accept == b"application/octet-stream" {
        return Ok(HttpResponse::Ok().content_type("application/octet-stream").body(bytes));
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if resolve {
        let environment = Environment::at(&server.backend, server.cipher.as_ref(), &wanted, &state).await?;
        text = environment.resolve(&text)?;
    }
    Ok(HttpResponse::Ok().content_type("text/plain;charset=UTF-8").body(text))
}

/// Spring's own form of a refusal, which its tools read.
fn refused(status: StatusCode, name: &str, description: &str) -> Answer {
    Ok(HttpResponse::build(status).json(json!({ "status": name, "description": description })))
}

fn no_key() -> Answer {
    refused(StatusCode::NOT_FOUND, "NO_KEY", "No key was installed for encryption service")
}

async fn encrypt_status(server: Arc<ConfigServer>, _: HttpRequest, _: Payload) -> Answer {
    if server.cipher.is_some() { Ok(HttpResponse::Ok().json(json!({ "status": "OK" }))) } else { no_key() }
}

async fn encrypt(server: Arc<ConfigServer>, request: HttpRequest, payload: Payload) -> Answer {
    let Some(cipher) = &server.cipher else { return no_key() };
    let text = sent(&request, payload).await?;
    Ok(HttpResponse::Ok().content_type("text/plain;charset=UTF-8").body(cipher.encrypt(without_prefix(&text))))
}

async fn decrypt(server: Arc<ConfigServer>, request: HttpRequest, payload: Payload) -> Answer {
    let Some(cipher) = &server.cipher else { return no_key() };
    let text = sent(&request, payload).await?;
    match cipher.decrypt(without_prefix(text.strip_prefix("{cipher}").unwrap_or(&text))) {
        Some(text) => Ok(HttpResponse::Ok().content_type("text/plain;charset=UTF-8").body(text)),
        None => refused(StatusCode::BAD_REQUEST, "INVALID", "Text not encrypted with this key"),
    }
}

/// The body as text. curl without a content type says that it is a form: a name with nothing after it.
async fn sent(request: &HttpRequest, payload: Payload) -> Result<String, Problem> {
    let body = read_body(request, payload, LARGEST_BODY).await?;
    let text = String::from_utf8(body.to_vec()).map_err(|_| Problem::new(400, "the body is not UTF-8"))?;
    let typed = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    match text.strip_suffix('=').filter(|_| !typed) {
        Some(form) => percent_decode(&form.replace('+', " ")).ok_or_else(|| Problem::new(400, "the body is no well-formed form")),
        None => Ok(text),
    }
}

async fn changed(server: Arc<ConfigServer>, request: HttpRequest, payload: Payload) -> Answer {
    let body = read_body(&request, payload, LARGEST_BODY).await?;
    server.backend.refresh().await?;
    let applications = monitor::applications(&body);
    tracing::info!(applications = applications.join(","), "repository has changed; POST /actuator/refresh makes an application read it");
    Ok(HttpResponse::Ok().json(applications))
}
