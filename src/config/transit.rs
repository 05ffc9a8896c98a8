//! Values encrypted by Vault's transit engine: `vault:v1:...`, in any layer.
//!
//! They are decrypted after all layers are merged, on every load. So Vault decrypts only values in effect, a revoked
//! key is detected, and no stored layer contains plaintext.
//!
//! Source: Vault's documentation of the transit engine, "Encrypt data", for the form.

use super::error::{DecryptError, SettingsError};
use super::vault::Source;
use crate::kernel::secret::Secret;
use config::{Value, ValueKind};

const ENCRYPTED: &str = "vault:v";
/// Precedes the layer in a decrypted value's origin. It starts with `vault ` like the origin of a secret: error messages
/// show neither value.
const ORIGIN_PREFIX: &str = "vault transit (from ";
/// Sections needed to connect to Vault, or to the config server before it.
const NEEDED_BEFORE_VAULT: [&str; 3] = ["config.", "tls.", "vault."];

/// Plaintext by key and ciphertext; `None` leaves the value encrypted.
pub(super) type Decrypt<'a> = dyn Fn(&str, &str) -> Result<Option<Secret>, DecryptError> + 'a;

/// Whether a setting of this origin was decrypted: its value is secret, whatever its key.
pub fn is_decrypted(origin: &str) -> bool {
    origin.starts_with(ORIGIN_PREFIX)
}

pub(super) fn decrypt(vault: Option<&Source>, text: &str) -> Result<Secret, DecryptError> {
    vault.ok_or(DecryptError::NoVault)?.decrypt(text)
}

/// For layers merged before Vault is connected: leaves values encrypted, except those needed to connect.
pub(super) fn before_vault(key: &str, _: &str) -> Result<Option<Secret>, DecryptError> {
    match NEEDED_BEFORE_VAULT.iter().find(|section| key.starts_with(**section)) {
        Some(_) => Err(DecryptError::NeededBeforeVault),
        None => Ok(None),
    }
}

/// Replaces ciphertexts by plaintexts, also in tables and lists. Returns whether any was replaced.
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
            for (position, inner) in items.iter_mut().enumerate() {
                replaced |= replace(&format!("{key}[{position}]"), inner, decrypt)?;
            }
        }
        ValueKind::String(text) if text.starts_with(ENCRYPTED) => {
            let plaintext =
                decrypt(key, text).map_err(|cause| SettingsError::Encrypted { key: key.into(), origin: origin.clone(), cause })?;
            if let Some(secret) = plaintext {
                (*text, replaced) = (secret.expose().to_string(), true);
            }
        }
        _ => {}
    }
    if replaced {
        let kind = std::mem::replace(&mut value.kind, ValueKind::Nil);
        *value = Value::new(Some(&format!("{ORIGIN_PREFIX}{origin})")), kind);
    }
    Ok(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::merge::{Merged, merge, merge_with};
    use config::{Config, File, FileFormat};

    fn layer(text: &str) -> Config {
        Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build().unwrap()
    }

    fn merge_decrypted(text: &str, plaintext: &str) -> Result<Merged, SettingsError> {
        merge_with([], &layer(text), &|_, ciphertext| {
            assert_eq!(ciphertext, "vault:v1:abc");
            Ok(Some(Secret::new(plaintext)))
        })
    }

    #[test]
    fn encrypted_value_at_any_depth_is_decrypted_and_origin_shows_it() {
        let text = "[notification]\nfrom = \"vault:v1:abc\"\nattempts = 3\n[[notification.webhooks]]\nurl = \"http://r\"\nsecret = \"vault:v1:abc\"";
        let loaded = merge_decrypted(text, "whsec_x").unwrap();
        let set = &loaded.settings.notification;
        assert_eq!((set.from.as_str(), set.webhooks[0].secret.expose(), set.webhooks[0].url.as_str()), ("whsec_x", "whsec_x", "http://r"));
        let decrypted: Vec<_> = loaded.origins.iter().filter(|(_, origin)| is_decrypted(origin)).map(|(key, _)| key.as_str()).collect();
        assert_eq!(decrypted, ["notification.from", "notification.webhooks"]);
    }

    #[test]
    fn overridden_value_is_not_decrypted() {
        let weak = layer("[notification]\nfrom = \"vault:v1:weak\"");
        let loaded = merge_with([&weak], &layer("[notification]\nfrom = \"shop@localhost\""), &|_, _| Err(DecryptError::NoVault)).unwrap();
        assert_eq!(loaded.settings.notification.from, "shop@localhost");
    }

    #[test]
    fn plaintext_of_wrong_type_is_not_shown() {
        let error = merge_decrypted("[notification]\nwebhooks = \"vault:v1:abc\"", "topsecret").unwrap_err().to_string();
        assert!(error.contains("notification.webhooks") && !error.contains("topsecret"), "{error}");
        let error = merge_decrypted("[vault]\nauth = \"vault:v1:abc\"", "topsecret").unwrap_err().to_string();
        assert!(error.contains("vault transit (from ") && !error.contains("topsecret"), "{error}");
    }

    #[test]
    fn encrypted_setting_needed_before_vault_is_rejected() {
        for key in ["vault.token", "tls.ca", "config.server"] {
            let error = merge([], &layer(&format!("{key} = \"vault:v1:abc\""))).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")) && error.contains("before Vault") && !error.contains("abc"), "{error}");
        }
        assert_eq!(merge([], &layer("notification.from = \"vault:v1:abc\"")).unwrap().settings.notification.from, "vault:v1:abc");
    }

    #[test]
    fn encrypted_value_without_vault_names_settings_to_set() {
        let error = merge_with([], &layer("notification.from = \"vault:v1:abc\""), &|_, text| decrypt(None, text).map(Some))
            .unwrap_err()
            .to_string();
        assert!(["`notification.from`", "vault.url", "vault.transit_key"].iter().all(|word| error.contains(word)), "{error}");
        assert!(!error.contains("abc"), "{error}");
    }
}
