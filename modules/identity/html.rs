//! The issuer's pages: plain HTML that needs no script.

use askama::Template;

/// The login page.
#[derive(Template)]
#[template(path = "identity/templates/login.html")]
pub(super) struct Login<'a> {
    /// Which client sent the person here.
    pub(super) client: &'a str,
    /// What was wrong with the last try.
    pub(super) error: Option<&'a str>,
    /// What the name field already holds.
    pub(super) username: &'a str,
    /// The authorization request, carried along.
    pub(super) carried: Vec<(&'static str, &'a str)>,
    /// Names to try, where there are only demo users.
    pub(super) demo: &'a [(String, String)],
}

/// A page that says one thing.
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
    fn pages_match_their_snapshots() {
        let demo = [("alice".to_string(), "customer".to_string()), ("<b>".to_string(), "admin, customer".to_string())];
        let carried = vec![("client_id", "shop & more"), ("state", "\"'><script>"), ("scope", "openid")];
        let first = Login { client: "shop & more", error: None, username: "", carried: carried.clone(), demo: &demo };
        snapshot("login", &first);
        let error = Some("wrong <username> or password");
        snapshot("login-failed", &Login { client: "shop & more", error, username: "\"><b>", carried, demo: &[] });
        snapshot("message", &Message { title: "This does not work", text: "the parameter <client_id> is missing" });
    }
}
