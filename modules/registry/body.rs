//! Request and response bodies: JSON or XML, full or compact, plain or gzip.
//!
//! Source: Netflix/eureka `ApplicationsResource` (XML unless `Accept` contains json), `EurekaAccept`,
//! `MiniInstanceInfoMixIn` (fields of a compact instance).

use super::xml;
use crate::edge::web::read_body;
use crate::kernel::problem::Problem;
use crate::rpc::discovery::eureka::instance::{Action, Applications, DataCenter, Instance, Port, Status};
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::Read;

/// In bytes; compression does not pay off below.
const MIN_COMPRESSED_SIZE: usize = 1024;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CompactInstance<'a> {
    instance_id: &'a str,
    app: &'a str,
    ip_addr: &'a str,
    host_name: &'a str,
    status: Status,
    port: Option<Port>,
    secure_port: Option<Port>,
    data_center_info: &'a Option<DataCenter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vip_address: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secure_vip_address: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asg_name: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action_type: Option<Action>,
    last_updated_timestamp: String,
}

#[derive(Serialize)]
struct CompactApplication<'a> {
    name: &'a str,
    instance: Vec<CompactInstance<'a>>,
}

#[derive(Serialize)]
struct CompactApplications<'a> {
    #[serde(rename = "versions__delta")]
    version: String,
    #[serde(rename = "apps__hashcode")]
    hash: &'a str,
    application: Vec<CompactApplication<'a>>,
}

fn compact(instance: &Instance) -> CompactInstance<'_> {
    CompactInstance {
        instance_id: &instance.instance_id,
        app: &instance.app,
        ip_addr: &instance.ip_addr,
        host_name: &instance.host_name,
        status: instance.status,
        port: instance.port,
        secure_port: instance.secure_port,
        data_center_info: &instance.data_center_info,
        vip_address: &instance.vip_address,
        secure_vip_address: &instance.secure_vip_address,
        asg_name: &instance.asg_name,
        action_type: instance.action_type,
        last_updated_timestamp: instance.last_updated_timestamp.to_string(),
    }
}

/// Compact if the client requests it with `X-Eureka-Accept`.
pub(super) fn respond_applications(request: &HttpRequest, all: &Applications) -> Result<HttpResponse, Problem> {
    if !header_contains(request, "x-eureka-accept", "compact") {
        return respond(request, "applications", all);
    }
    let application =
        all.application.iter().map(|app| CompactApplication { name: &app.name, instance: app.instance.iter().map(compact).collect() });
    let compact = CompactApplications { version: all.version.to_string(), hash: &all.hash, application: application.collect() };
    respond(request, "applications", &compact)
}

/// Responds with `content` below a root element.
pub(super) fn respond<T: Serialize>(request: &HttpRequest, root: &str, content: &T) -> Result<HttpResponse, Problem> {
    let (media, text) = if header_contains(request, "accept", "json") {
        let text = serde_json::to_string(content).map_err(Problem::internal)?;
        ("application/json", format!("{{\"{root}\":{text}}}").into_bytes())
    } else {
        let value = serde_json::to_value(content).map_err(Problem::internal)?;
        ("application/xml", xml::write(root, &value).map_err(Problem::internal)?)
    };
    let mut response = HttpResponse::Ok();
    response.content_type(media).insert_header((header::VARY, "accept, accept-encoding, x-eureka-accept"));
    if text.len() < MIN_COMPRESSED_SIZE || !header_contains(request, "accept-encoding", "gzip") {
        return Ok(response.body(text));
    }
    let mut compressed = Vec::new();
    GzEncoder::new(text.as_slice(), Compression::fast()).read_to_end(&mut compressed).map_err(Problem::internal)?;
    Ok(response.insert_header((header::CONTENT_ENCODING, "gzip")).body(compressed))
}

/// Reads the content below a root element. JSON or XML is required: a page of another site can send text across
/// origins without a preflight, but neither of these.
pub(super) async fn read<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
    root: Option<&str>,
    limit: usize,
) -> Result<T, Problem> {
    let sent = read_body(request, payload, limit).await?;
    let bytes = if header_contains(request, "content-encoding", "gzip") { unzip(&sent, limit)? } else { sent.to_vec() };
    let malformed = |cause: String| Problem::new(400, format!("the body is not understood: {cause}"));
    let value: Value = if header_contains(request, "content-type", "json") {
        let value: Value = serde_json::from_slice(&bytes).map_err(|cause| malformed(cause.to_string()))?;
        match root {
            None => value,
            Some(root) => value.get(root).cloned().ok_or_else(|| malformed(format!("expected {{\"{root}\":{{...}}}}")))?,
        }
    } else if header_contains(request, "content-type", "xml") {
        let text = String::from_utf8(bytes).map_err(|cause| malformed(cause.to_string()))?;
        let (name, value) = xml::read(&text).map_err(|cause| malformed(cause.to_string()))?;
        if root.is_some_and(|root| root != name) {
            return Err(malformed(format!("expected <{}>", root.unwrap_or_default())));
        }
        value
    } else {
        return Err(Problem::new(415, "the body must be application/json or application/xml"));
    };
    serde_json::from_value(value).map_err(|cause| malformed(cause.to_string()))
}

fn unzip(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    let mut plain = Vec::new();
    let most = limit as u64 + 1;
    GzDecoder::new(bytes)
        .take(most)
        .read_to_end(&mut plain)
        .map_err(|cause| Problem::new(400, format!("the body is not gzip: {cause}")))?;
    if plain.len() > limit {
        return Err(Problem::new(413, format!("the body is larger than {limit} bytes")));
    }
    Ok(plain)
}

fn header_contains(request: &HttpRequest, name: &str, word: &str) -> bool {
    let value = request.headers().get(name).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.to_ascii_lowercase().contains(word))
}
