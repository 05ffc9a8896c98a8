//! Addresses of receivers: masked mail addresses, URLs and their credentials.

use crate::kernel::uri::user_info;
use actix_web::http::Uri;

/// Masks a mail address: its owner recognizes it, others do not.
pub(in crate::modules::notification) fn masked(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let initial: String = local.chars().take(1).collect();
    format!("{initial}***@{domain}")
}

/// A URL's authority without credentials, and the credentials.
pub(super) fn authority(url: &Uri) -> Option<(&str, Option<(String, String)>)> {
    let authority = url.authority()?.as_str();
    let Some((credentials, host)) = authority.rsplit_once('@') else { return Some((authority, None)) };
    Some((host, Some(user_info(credentials)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_address_keeps_initial_and_domain() {
        assert_eq!(masked("jane.doe@example.com"), "j***@example.com");
        assert_eq!(masked("nonsense"), "n***@");
    }

    #[test]
    fn authority_with_credentials_is_split() {
        let url: Uri = "https://us%40er:pa%3Ass@host:8443/x?y=z".parse().unwrap();
        assert_eq!(authority(&url).unwrap(), ("host:8443", Some(("us@er".into(), "pa:ss".into()))));
    }
}
