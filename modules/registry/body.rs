//! Bodies in and out: JSON or XML, whole or compact, plain or gzip.
//!
//! Source: Netflix/eureka `ApplicationsResource` (an Accept without json gets XML), `EurekaAccept`,
//! `MiniInstanceInfoMixIn` (what a compact instance has).

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

/// Compressed below this a body gains nothing.
const WORTH_COMPRESSING: usize = 1024;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Mini<'a> {
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
struct MiniApplication<'a> {
    name: &'a str,
    instance: Vec<Mini<'a>>,
}

#[derive(Serialize)]
struct MiniApplications<'a> {
    #[serde(rename = "versions__delta")]
    version: String,
    #[serde(rename = "apps__hashcode")]
    hash: &'a str,
    application: Vec<MiniApplication<'a>>,
}

fn mini(instance: &Instance) -> Mini<'_> {
    Mini {
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

/// Answers with several applications, compact where the client asks for it.
pub(super) fn applications(request: &HttpRequest, all: &Applications) -> Result<HttpResponse, Problem> {
    if !has(request, "x-eureka-accept", "compact") {
        return answer(request, "applications", all);
    }
    let application =
        all.application.iter().map(|app| MiniApplication { name: &app.name, instance: app.instance.iter().map(mini).collect() });
    let compact = MiniApplications { version: all.version.to_string(), hash: &all.hash, application: application.collect() };
    answer(request, "applications", &compact)
}

/// Answers with this under this root.
pub(super) fn answer<T: Serialize>(request: &HttpRequest, root: &str, content: &T) -> Result<HttpResponse, Problem> {
    let (media, text) = if has(request, "accept", "json") {
        let text = serde_json::to_string(content).map_err(Problem::internal)?;
        ("application/json", format!("{{\"{root}\":{text}}}").into_bytes())
    } else {
        let value = serde_json::to_value(content).map_err(Problem::internal)?;
        ("application/xml", xml::write(root, &value).map_err(Problem::internal)?)
    };
    let mut response = HttpResponse::Ok();
    response.content_type(media).insert_header((header::VARY, "accept, accept-encoding, x-eureka-accept"));
    if text.len() < WORTH_COMPRESSING || !has(request, "accept-encoding", "gzip") {
        return Ok(response.body(text));
    }
    let mut compressed = Vec::new();
    GzEncoder::new(text.as_slice(), Compression::fast()).read_to_end(&mut compressed).map_err(Problem::internal)?;
    Ok(response.insert_header((header::CONTENT_ENCODING, "gzip")).body(compressed))
}

/// Reads what is under this root. A type must be named: a page of another site can send text, but
/// neither JSON nor XML.
pub(super) async fn read<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
    root: Option<&str>,
    limit: usize,
) -> Result<T, Problem> {
    let sent = read_body(request, payload, limit).await?;
    let bytes = if has(request, "content-encoding", "gzip") { unzip(&sent, limit)? } else { sent.to_vec() };
    let bad = |cause: String| Problem::new(400, format!("the body is not understood: {cause}"));
    let value: Value = if has(request, "content-type", "json") {
        let value: Value = serde_json::from_slice(&bytes).map_err(|cause| bad(cause.to_string()))?;
        match root {
            None => value,
            Some(root) => value.get(root).cloned().ok_or_else(|| bad(format!("expected {{\"{root}\":{{...}}}}")))?,
        }
    } else if has(request, "content-type", "xml") {
        let text = String::from_utf8(bytes).map_err(|cause| bad(cause.to_string()))?;
        let (name, value) = xml::read(&text).map_err(|cause| bad(cause.to_string()))?;
        if root.is_some_and(|root| root != name) {
            return Err(bad(format!("expected <{}>", root.unwrap_or_default())));
        }
        value
    } else {
        return Err(Problem::new(415, "the body must be application/json or application/xml"));
    };
    serde_json::from_value(value).map_err(|cause| bad(cause.to_string()))
}

fn unzip(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    let mut plain = Vec::new();
    let most = limit as u64 + 1;
    GzDecoder::new(bytes).take(most).read_to_end(&mut plain).map_err(|cause| Problem::new(400, format!("the body is no gzip: {cause}")))?;
    if plain.len() > limit {
        return Err(Problem::new(413, format!("the body is larger than {limit} bytes")));
    }
    Ok(plain)
}

/// Whether a header has this word in it.
fn has(request: &HttpRequest, name: &str, word: &str) -> bool {
    let value = request.headers().get(name).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.to_ascii_lowercase().contains(word))
}
