//! The issuer's pages: plain HTML that needs no script.

use crate::platform::html::escape;
use std::fmt::Write;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --paper: #fff; --ground: #eef1f5; --line: #b9c2ce; --accent: #1f5fbf; --bad: #a5161f; --badground: #fdecec; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf2; --soft: #a3aebc; --paper: #1b222c; --ground: #11161d; --line: #4a5664; --accent: #7fb0ff; --bad: #ffb3b3; --badground: #3a1d20; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 24rem; padding: 2rem; background: var(--paper); border: 1px solid var(--line); border-radius: .75rem; }
h1 { margin: 0 0 .25rem; font-size: 1.5rem; line-height: 1.2; }
p { margin: 0 0 1.25rem; color: var(--soft); overflow-wrap: anywhere; }
label { display: block; margin-bottom: .25rem; font-weight: 600; }
input { width: 100%; margin-bottom: 1rem; padding: .6rem .75rem; font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: .4rem; }
button { width: 100%; padding: .7rem; font: inherit; font-weight: 600; color: var(--paper); background: var(--accent); border: 0; border-radius: .4rem; cursor: pointer; }
input:focus-visible, button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.error { padding: .6rem .75rem; color: var(--bad); background: var(--badground); border-radius: .4rem; }
.note { margin: 1.25rem 0 0; font-size: .875rem; }
";

/// What the login page shows.
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

/// The login page.
pub(super) fn login(view: &Login<'_>) -> String {
    let mut body = format!("<h1>Sign in</h1>\n<p>to go on to <strong>{}</strong></p>\n", escape(view.client));
    if let Some(error) = view.error {
        let _ = writeln!(body, "<p class=\"error\" role=\"alert\" id=\"error\">{}</p>", escape(error));
    }
    body.push_str("<form method=\"post\" action=\"auth\">\n");
    for (name, value) in &view.carried {
        let _ = writeln!(body, "<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value));
    }
    let described = if view.error.is_some() { " aria-describedby=\"error\"" } else { "" };
    let (on_name, on_password) = if view.username.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
    let name = escape(view.username);
    let _ = write!(
        body,
        "<label for=\"username\">Username</label>\n\
         <input id=\"username\" name=\"username\" value=\"{name}\" autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" required{described}{on_name}>\n\
         <label for=\"password\">Password</label>\n\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required{described}{on_password}>\n\
         <button type=\"submit\">Sign in</button>\n</form>\n"
    );
    if !view.demo.is_empty() {
        let names: Vec<_> =
            view.demo.iter().map(|(name, roles)| format!("<strong>{}</strong> ({})", escape(name), escape(roles))).collect();
        let _ = writeln!(body, "<p class=\"note\">Demo users, each with its name as password: {}.</p>", names.join(", "));
    }
    document("Sign in", &body)
}

/// A page that says one thing.
pub(super) fn message(title: &str, text: &str) -> String {
    document(title, &format!("<h1>{}</h1>\n<p role=\"status\">{}</p>\n", escape(title), escape(text)))
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{} - Tradepost</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title)
    )
}
