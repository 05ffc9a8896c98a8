//! An application's settings: its files in order of precedence, as named property sources.
//!
//! Source: spring-cloud-config `NativeEnvironmentRepository`, Spring Boot
//! `StandardConfigDataLocationResolver`; the order is verified against Spring's server.

use super::backend::{Backend, Revision};
use super::cipher::Cipher;
use super::document::{self, DocumentError, FlatProperties, to_text};
use super::request::ConfigRequest;
use crate::config::placeholders;
use crate::kernel::problem::Problem;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

/// The settings of a file, or of one document in it.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct PropertySource {
    pub(super) name: String,
    #[serde(serialize_with = "serialize_in_order")]
    pub(super) source: FlatProperties,
}

fn serialize_in_order<S: Serializer>(flat: &FlatProperties, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(flat.len()))?;
    flat.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
    map.end()
}

/// The response body that Spring Cloud Config's clients expect.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Environment {
    name: String,
    profiles: Vec<String>,
    label: Option<String>,
    version: Option<String>,
    state: Option<&'static str>,
    /// Highest precedence first.
    pub(super) property_sources: Vec<PropertySource>,
}

impl Environment {
    /// A malformed file results in 503: the repository is at fault, not the client.
    pub(super) async fn load(backend: &Backend, cipher: Option<&Cipher>, request: &ConfigRequest) -> Result<Self, Problem> {
        #[cfg(feature = "vault")]
        if let Backend::Vault(vault) = backend {
            let found = vault.find(request).await?.into_iter();
            let sources = found.map(|(name, source)| PropertySource { name, source: decrypt_values(source, cipher) }).collect();
            return Ok(Self::new(request, None, sources));
        }
        let revision = backend.resolve(request).await?;
        Self::load_revision(backend, cipher, request, &revision).await
    }

    fn new(request: &ConfigRequest, commit: Option<&String>, property_sources: Vec<PropertySource>) -> Self {
        // as in Spring's server: all profiles in one string, and a state only for git
        let (profiles, label) = (vec![request.profiles.join(",")], request.label.clone());
        Self { name: request.name.clone(), profiles, label, version: commit.cloned(), state: commit.map(|_| ""), property_sources }
    }

    pub(super) async fn load_revision(
        backend: &Backend,
        cipher: Option<&Cipher>,
        request: &ConfigRequest,
        revision: &Revision,
    ) -> Result<Self, Problem> {
        let files = request.candidate_files(&revision.folders);
        let contents = backend.read(revision, files.iter().map(|(_, path)| path.clone()).collect()).await?;
        let mut sources = Vec::new();
        for ((folder, path), bytes) in files.iter().zip(contents) {
            let Some(bytes) = bytes else { continue };
            let unreadable = |cause: DocumentError| {
                let text = format!("{path} cannot be read: {cause}");
                Problem::unavailable(text.clone()).with_cause(text)
            };
            let documents = document::parse(path, &bytes).map_err(unreadable)?;
            let is_multi_document = documents.len() > 1;
            for (number, document) in documents.into_iter().enumerate() {
                if document::is_active(&document, &request.profiles).map_err(|cause| unreadable(cause.into()))? {
                    let name = backend.source_name(folder, path, is_multi_document.then_some(number));
                    sources.push(PropertySource { name, source: decrypt_values(document, cipher) });
                }
            }
        }
        sources.reverse();
        Ok(Self::new(request, revision.commit.as_ref(), sources))
    }

    /// The value of a key with the highest precedence.
    pub(super) fn value(&self, key: &str) -> Option<String> {
        let sources = self.property_sources.iter().flat_map(|source| &source.source);
        sources.into_iter().find(|(name, _)| name == key).map(|(_, value)| to_text(value))
    }

    /// Resolves the placeholders of a text with these settings.
    pub(super) fn resolve_placeholders(&self, text: &str) -> Result<String, Problem> {
        placeholders::resolve(text, &|key| self.value(key)).map_err(|cause| Problem::new(400, cause.to_string()))
    }
}

/// Without a key, encrypted values stay as they are: clients may have the key.
fn decrypt_values(document: FlatProperties, cipher: Option<&Cipher>) -> FlatProperties {
    let Some(cipher) = cipher else { return document };
    let decrypt = |(key, value): (String, Value)| {
        let Some(encrypted) = value.as_str().and_then(|text| text.strip_prefix("{cipher}")) else { return (key, value) };
        match cipher.decrypt(strip_key_selectors(encrypted)) {
            Some(text) => (key, text.into()),
            None => {
                tracing::warn!(key, "value cannot be decrypted");
                (format!("invalid.{key}"), "<n/a>".into())
            }
        }
    };
    document.into_iter().map(decrypt).collect()
}

/// Removes leading `{name:value}` pairs, which select a key in Spring. After `{plain}`, all is text.
pub(super) fn strip_key_selectors(text: &str) -> &str {
    if let Some((_, rest)) = text.split_once("{plain}") {
        return rest;
    }
    let mut rest = text;
    while let Some((pair, after)) = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'))
        && pair.contains(':')
    {
        rest = after;
    }
    rest
}
