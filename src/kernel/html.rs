//! Rendering and response headers of HTML pages. A page is an askama template, which escapes its values.

use crate::kernel::problem::Problem;
use actix_web::HttpResponse;
use actix_web::http::header;
use askama::Template;

/// Drops control characters, which HTML forbids.
pub fn render(page: &impl Template) -> Result<String, Problem> {
    let mut text = page.render().map_err(Problem::internal)?;
    text.retain(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    Ok(text)
}

/// The headers forbid scripts, framing, forms to other origins, referrers, and caching.
pub fn respond(page: String) -> HttpResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Template)]
    #[template(source = "<p title='{{ text }}'>{{ text }}</p>", ext = "html")]
    struct Page {
        text: &'static str,
    }

    #[test]
    fn render_text_with_markup_is_escaped() {
        let page = render(&Page { text: "<a href='x' b=\"y\">&\u{7}</a>\n" }).unwrap();
        let escaped = "&#60;a href=&#39;x&#39; b=&#34;y&#34;&#62;&#38;&#60;/a&#62;\n";
        assert_eq!(page, format!("<p title='{escaped}'>{escaped}</p>"));
    }
}
