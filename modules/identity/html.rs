//! The issuer's HTML pages. They need no script.

use askama::Template;

#[derive(Template)]
#[template(path = "identity/templates/login.html")]
pub(super) struct Login<'a> {
    pub(super) client: &'a str,
    /// Error of the previous attempt.
    pub(super) error: Option<&'a str>,
    /// Initial value of the name field.
    pub(super) username: &'a str,
    /// Parameters of the authorization request, sent back by the form.
    pub(super) hidden_fields: Vec<(&'static str, &'a str)>,
    /// Names and roles of the demo users; empty if the settings name users.
    pub(super) demo: &'a [(String, String)],
}

/// A page with one message.
#[derive(Template)]
#[template(path = "identity/templates/message.html")]
pub(super) struct Message<'a> {
    pub(super) title: &'a str,
    pub(super) text: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::html::render;

    fn snapshot(name: &str, page: &impl Template) {
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, render(page).unwrap());
        });
    }

    #[test]
    fn pages_rendered_match_snapshots() {
        let demo = [("alice".to_string(), "customer".to_string()), ("<b>".to_string(), "admin, customer".to_string())];
        let hidden_fields = vec![("client_id", "shop & more"), ("state", "\"'><script>"), ("scope", "openid")];
        let first = Login { client: "shop & more", error: None, username: "", hidden_fields: hidden_fields.clone(), demo: &demo };
        snapshot("login", &first);
        let error = Some("wrong <username> or password");
        snapshot("login-failed", &Login { client: "shop & more", error, username: "\"><b>", hidden_fields, demo: &[] });
        snapshot("message", &Message { title: "This does not work", text: "the parameter <client_id> is missing" });
    }
}
