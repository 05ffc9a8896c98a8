//! API documentation: OpenAPI at `/v3/api-docs`, Swagger UI at `/swagger-ui/`.

use crate::rpc::contract::{Endpoint, RequiredRole};
use actix_web::HttpResponse;
use actix_web::http::Method;
use serde_json::Value;

pub fn endpoints(document: &Value) -> Vec<Endpoint> {
    let text = document.to_string();
    let api_docs = Endpoint::raw("docs", "api_docs", Method::GET, "/v3/api-docs", RequiredRole::Public, move |_, _, _| {
        let response = HttpResponse::Ok().content_type("application/json").body(text.clone());
        async { Ok(response) }
    });
    #[allow(unused_mut, reason = "only the Swagger UI endpoints are added")]
    let mut endpoints = vec![api_docs];
    #[cfg(feature = "swagger-ui")]
    endpoints.extend(swagger::endpoints());
    endpoints
}

#[cfg(feature = "swagger-ui")]
mod swagger {
    use super::{Endpoint, HttpResponse, Method, RequiredRole};
    use crate::kernel::problem::Problem;
    use actix_web::http::header;
    use miniz_oxide::inflate::decompress_to_vec as inflate;
    use rawzip::{CompressionMethod, ZipArchive};

    const INITIALIZER: &str = r#"window.onload = () => {
  window.ui = SwaggerUIBundle({
    url: "/v3/api-docs", dom_id: "\#swagger-ui", deepLinking: true, persistAuthorization: true,
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset], layout: "StandaloneLayout",
  });
};
"#;

    pub(super) fn endpoints() -> Vec<Endpoint> {
        let redirect = |path| {
            Endpoint::raw("docs", "swagger_redirect", Method::GET, path, RequiredRole::Public, |_, _, _| async {
                Ok(HttpResponse::Found().insert_header((header::LOCATION, "/swagger-ui/")).finish())
            })
        };
        let page = |path| {
            Endpoint::raw("docs", "swagger", Method::GET, path, RequiredRole::Public, |_, request, _| async move {
                file(request.match_info().get("file").filter(|name| !name.is_empty()).unwrap_or("index.html"))
            })
        };
        vec![redirect("/swagger-ui"), redirect("/swagger-ui.html"), page("/swagger-ui/"), page("/swagger-ui/{file}")]
    }

    fn file(name: &str) -> Result<HttpResponse, Problem> {
        let missing = || Problem::new(404, "there is nothing at this path");
        if name == "swagger-initializer.js" {
            return Ok(HttpResponse::Ok().content_type("text/javascript").body(INITIALIZER.replace("\\#", "#")));
        }
        let content = unpack(name)?.ok_or_else(missing)?;
        let media = match name.rsplit('.').next().unwrap_or_default() {
            "html" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "png" => "image/png",
            _ => "application/octet-stream",
        };
        Ok(HttpResponse::Ok().content_type(media).insert_header((header::CACHE_CONTROL, "max-age=3600")).body(content))
    }

    /// Reads a file of the `dist` folder in Swagger UI's embedded archive.
    fn unpack(name: &str) -> Result<Option<Vec<u8>>, Problem> {
        let archive = ZipArchive::from_slice(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED).map_err(Problem::internal)?;
        let wanted = format!("/dist/{name}");
        let mut entries = archive.entries();
        while let Some(entry) = entries.next_entry().map_err(Problem::internal)? {
            if !entry.file_path().as_ref().ends_with(wanted.as_bytes()) {
                continue;
            }
            let data = archive.get_entry(entry.wayfinder()).map_err(Problem::internal)?.data();
            return match entry.compression_method() {
                CompressionMethod::STORE => Ok(Some(data.to_vec())),
                CompressionMethod::DEFLATE => inflate(data).map(Some).map_err(|e| Problem::internal(format!("{name}: {e}"))),
                other => Err(Problem::internal(format!("{name} has an unsupported compression method: {other:?}"))),
            };
        }
        Ok(None)
    }
}
