//! Values that Vault's transit engine has encrypted: `vault:v1:...`, in whatever layer they stand.
//!
//! They are decrypted when all layers lie on each other, so Vault is asked for those alone that count, and each time
//! anew: a key that was withdrawn is noticed, and no layer is kept with the text in it.
//!
//! Source: Vault's documentation of the transit engine, "Encrypt data", for the form.

use super::error::{DecryptError, SettingsError};
use super::secrets::Source;
use crate::kernel::secret::Secret;
use config::{Value, ValueKind};

const ENCRYPTED: &str = "vault:v";
/// Before the layer in a decrypted value's origin. It begins as that of a secret does: neither is to be repeated.
const DECRYPTED: &str = "vault transit (from ";
/// Settings by which Vault, and a config server before it, is asked.
const NEEDED_BEFORE: [&str; 3] = ["config.", "tls.", "vault."];

/// A value's text by its key and ciphertext; none where it is not the time for it.
pub(super) type Decrypt<'a> = dyn Fn(&str, &str) -> Result<Option<Secret>, DecryptError> + 'a;

/// Whether a setting of this origin was decrypted: its value is a secret, whatever the key is.
pub fn is_decrypted(origin: &str) -> bool {
    origin.starts_with(DECRYPTED)
}

/// By a Vault.
pub(super) fn decrypt(vault: Option<&Source>, text: &str) -> Result<Secret, DecryptError> {
    vault.ok_or(DecryptError::NoVault)?.decrypt(text)
}

/// While no Vault can be asked yet.
pub(super) fn before_vault(key: &str, _: &str) -> Result<Option<Secret>, DecryptError> {
    match NEEDED_BEFORE.iter().find(|section| key.starts_with(**section)) {
        Some(_) => Err(DecryptError::NeededBefore),
        None => Ok(None),
    }
}

/// Puts texts in the place of ciphertexts, in tables and lists, too. Says whether there were any.
pub(super) fn replace(key: &str, value: &mut Value, decrypt: &Decrypt<'_>) -> Result<bool, SettingsError> {
    let origin = value.origin().unwrap_or("the environment").to_string();
    let mut replaced = false;
    match &mut value.kind {
        ValueKind::Table(members) => {
            for (name, inner) in members.iter_mut() {
                let path = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                replaced |= replace(&path, inner, decrypt)?;
            }
            return Ok(replaced);
        }
        ValueKind::Array(items) => {
            for (place, inner) in items.iter_mut().enumerate() {
                replaced |= replace(&format!("{key}[{place}]"), inner, decrypt)?;
            }
        }
        ValueKind::String(text) if text.starts_with(ENCRYPTED) => {
            let found = decrypt(key, text).map_err(|cause| SettingsError::Encrypted { key: key.into(), origin: origin.clone(), cause })?;
            if let Some(secret) = found {
                (*text, replaced) = (secret.expose().to_string(), true);
            }
        }
        _ => {}
    }
    if replaced {
        let kind = std::mem::replace(&mut value.kind, ValueKind::Nil);
        *value = Value::new(Some(&format!("{DECRYPTED}{origin})")), kind);
    }
    Ok(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Loaded, merge, merge_with};
    use config::{Config, File, FileFormat};

    fn layer(text: &str) -> Config {
        Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build().unwrap()
    }

    /// As if Vault answered this.
    fn decrypted(text: &str, answer: &str) -> Result<Loaded, SettingsError> {
        merge_with([], &layer(text), &|_, ciphertext| {
            assert_eq!(ciphertext, "vault:v1:abc");
            Ok(Some(Secret::new(answer)))
        })
    }

    #[test]
    fn a_value_is_decrypted_wherever_it_stands_and_its_origin_says_so() {
        let text = "[notification]\nfrom = \"vault:v1:abc\"\nattempts = 3\n[[notification.webhooks]]\nurl = \"http://r\"\nsecret = \"vault:v1:abc\"";
        let loaded = decrypted(text, "whsec_x").unwrap();
        let set = &loaded.settings.notification;
        assert_eq!((set.from.as_str(), set.webhooks[0].secret.expose(), set.webhooks[0].url.as_str()), ("whsec_x", "whsec_x", "http://r"));
        let hidden: Vec<_> = loaded.origins.iter().filter(|(_, origin)| is_decrypted(origin)).map(|(key, _)| key.as_str()).collect();
        assert_eq!(hidden, ["notification.from", "notification.webhooks"]);
    }

    /// The weaker layer's value does not count, so nobody is asked for it.
    #[test]
    fn only_what_counts_is_decrypted() {
        let weak = layer("[notification]\nfrom = \"vault:v1:weak\"");
        let loaded = merge_with([&weak], &layer("[notification]\nfrom = \"shop@localhost\""), &|_, _| Err(DecryptError::NoVault)).unwrap();
        assert_eq!(loaded.settings.notification.from, "shop@localhost");
    }

    #[test]
    fn a_text_that_does_not_fit_is_not_repeated() {
        let said = decrypted("[notification]\nwebhooks = \"vault:v1:abc\"", "topsecret").unwrap_err().to_string();
        assert!(said.contains("notification.webhooks") && !said.contains("topsecret"), "{said}");
        let said = decrypted("[vault]\nauth = \"vault:v1:abc\"", "topsecret").unwrap_err().to_string();
        assert!(said.contains("vault transit (from ") && !said.contains("topsecret"), "{said}");
    }

    #[test]
    fn what_vault_is_asked_with_cannot_be_encrypted() {
        for key in ["vault.token", "tls.ca", "config.server"] {
            let said = merge([], &layer(&format!("{key} = \"vault:v1:abc\""))).unwrap_err().to_string();
            assert!(said.contains(&format!("`{key}`")) && said.contains("before Vault") && !said.contains("abc"), "{said}");
        }
        assert_eq!(merge([], &layer("notification.from = \"vault:v1:abc\"")).unwrap().settings.notification.from, "vault:v1:abc");
    }

    #[test]
    fn without_a_vault_the_start_says_what_to_set() {
        let said = merge_with([], &layer("notification.from = \"vault:v1:abc\""), &|_, text| decrypt(None, text).map(Some))
            .unwrap_err()
            .to_string();
        assert!(["`notification.from`", "vault.url", "vault.transit_key"].iter().all(|word| said.contains(word)), "{said}");
        assert!(!said.contains("abc"), "{said}");
    }
}
