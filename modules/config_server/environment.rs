//! What an application gets: which files, in which order, under which names.
//!
//! Source: spring-cloud-config `NativeEnvironmentRepository`, Spring Boot
//! `StandardConfigDataLocationResolver`; the order was compared with the real server's.

use super::backend::{Backend, State};
use super::cipher::Cipher;
use super::document::{self, DocumentError, Flat, plain};
use super::request::Wanted;
use crate::config::placeholders;
use crate::kernel::problem::Problem;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

/// A file's settings, or one document's.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Source {
    pub(super) name: String,
    #[serde(serialize_with = "in_order")]
    pub(super) source: Flat,
}

fn in_order<S: Serializer>(flat: &Flat, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(flat.len()))?;
    flat.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
    map.end()
}

/// The answer, as Spring Cloud Config's clients expect it.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Environment {
    name: String,
    profiles: Vec<String>,
    label: Option<String>,
    version: Option<String>,
    state: Option<&'static str>,
    /// The strongest first.
    pub(super) property_sources: Vec<Source>,
}

impl Environment {
    /// Reads it. A file that cannot be understood is a fault of the repository, not of who asks: 503.
    pub(super) async fn find(backend: &Backend, cipher: Option<&Cipher>, wanted: &Wanted) -> Result<Self, Problem> {
        #[cfg(feature = "vault")]
        if let Backend::Vault(keys) = backend {
            let found = keys.find(wanted).await?.into_iter();
            let sources = found.map(|(name, source)| Source { name, source: opened(source, cipher) }).collect();
            return Ok(Self::of(wanted, None, sources));
        }
        let state = backend.at(wanted).await?;
        Self::at(backend, cipher, wanted, &state).await
    }

    fn of(wanted: &Wanted, commit: Option<&String>, property_sources: Vec<Source>) -> Self {
        // as the real server answers: all profiles in one text, and a state of git's only
        let (profiles, label) = (vec![wanted.profiles.join(",")], wanted.label.clone());
        Self { name: wanted.name.clone(), profiles, label, version: commit.cloned(), state: commit.map(|_| ""), property_sources }
    }

    pub(super) async fn at(backend: &Backend, cipher: Option<&Cipher>, wanted: &Wanted, state: &State) -> Result<Self, Problem> {
        let files = wanted.files(&state.folders);
        let contents = backend.read(state, files.iter().map(|(_, path)| path.clone()).collect()).await?;
        let mut sources = Vec::new();
        for ((folder, path), bytes) in files.iter().zip(contents) {
            let Some(bytes) = bytes else { continue };
            let unreadable = |cause: DocumentError| {
                let text = format!("{path} cannot be read: {cause}");
                Problem::unavailable(text.clone()).with_cause(text)
            };
            let documents = document::parse(path, &bytes).map_err(unreadable)?;
            let several = documents.len() > 1;
            for (number, document) in documents.into_iter().enumerate() {
                if document::is_active(&document, &wanted.profiles).map_err(|cause| unreadable(cause.into()))? {
                    let name = backend.name(folder, path, several.then_some(number));
                    sources.push(Source { name, source: opened(document, cipher) });
                }
            }
        }
        sources.reverse();
        Ok(Self::of(wanted, state.commit.as_ref(), sources))
    }

    /// The strongest value of a key.
    pub(super) fn value(&self, key: &str) -> Option<String> {
        let sources = self.property_sources.iter().flat_map(|source| &source.source);
        sources.into_iter().find(|(name, _)| name == key).map(|(_, value)| plain(value))
    }

    /// A text with its placeholders resolved by these settings.
    pub(super) fn resolve(&self, text: &str) -> Result<String, Problem> {
        placeholders::resolve(text, &|key| self.value(key)).map_err(|cause| Problem::new(400, cause.to_string()))
    }
}

/// Encrypted values decrypted; without a key they go out as they are, for clients that have one.
fn opened(document: Flat, cipher: Option<&Cipher>) -> Flat {
    let Some(cipher) = cipher else { return document };
    let open = |(key, value): (String, Value)| {
        let Some(encrypted) = value.as_str().and_then(|text| text.strip_prefix("{cipher}")) else { return (key, value) };
        match cipher.decrypt(without_prefix(encrypted)) {
            Some(text) => (key, text.into()),
            None => {
                tracing::warn!(key, "value cannot be decrypted");
                (format!("invalid.{key}"), "<n/a>".into())
            }
        }
    };
    document.into_iter().map(open).collect()
}

/// Without `{name:value}` pairs, which choose among keys where there are several; after `{plain}` nothing is one.
pub(super) fn without_prefix(text: &str) -> &str {
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
