//! An application's settings as one document: properties, YAML or JSON.
//!
//! Source: spring-cloud-config `EnvironmentController`. Placeholders are resolved in each value before
//! rendering, so that a value with a quote does not break the document.

use super::document::{FlatProperties, to_text};
use super::environment::Environment;
use crate::kernel::problem::Problem;
use serde_json::Value;
use serde_yaml_ng as yaml;

/// A list is filled up to its largest index; bounds the memory.
const MAX_LIST_LEN: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum TextFormat {
    /// `key: value` lines.
    Properties,
    Yaml,
    Json,
}

impl TextFormat {
    /// The file name without its extension, and the format of the extension.
    pub(super) fn of(file: &str) -> Option<(&str, TextFormat)> {
        let (stem, extension) = file.rsplit_once('.')?;
        let format = match extension {
            "properties" => TextFormat::Properties,
            "yml" | "yaml" => TextFormat::Yaml,
            "json" => TextFormat::Json,
            _ => return None,
        };
        Some((stem, format))
    }

    /// As in Spring's server.
    pub(super) fn media_type(self) -> &'static str {
        if self == TextFormat::Json { "application/json" } else { "text/plain;charset=UTF-8" }
    }
}

pub(super) fn render(environment: &Environment, format: TextFormat, resolve: bool) -> Result<String, Problem> {
    let mut flat = merge(environment);
    if resolve {
        for (_, value) in &mut flat {
            if let Value::String(text) = value {
                *text = environment.resolve_placeholders(text)?;
            }
        }
    }
    match format {
        TextFormat::Properties => Ok(flat.iter().map(|(key, value)| format!("{key}: {}", to_text(value))).collect::<Vec<_>>().join("\n")),
        TextFormat::Yaml => yaml::to_string(&tree(flat)).map_err(Problem::internal),
        TextFormat::Json => serde_json::to_string(&tree(flat)).map_err(Problem::internal),
    }
}

/// Each key once, with the value of highest precedence. A list comes as a whole from one source.
fn merge(environment: &Environment) -> FlatProperties {
    let (mut plain, mut lists): (FlatProperties, Vec<(String, FlatProperties)>) = (Vec::new(), Vec::new());
    for source in environment.property_sources.iter().rev() {
        let mut lists_of_source: Vec<(String, FlatProperties)> = Vec::new();
        for (key, value) in &source.source {
            match key.split_once('[') {
                Some((list, _)) => entry(&mut lists_of_source, list).push((key.clone(), value.clone())),
                None => *entry(&mut plain, key) = value.clone(),
            }
        }
        for (list, items) in lists_of_source {
            *entry(&mut lists, &list) = items;
        }
    }
    plain.extend(lists.into_iter().flat_map(|(_, items)| items));
    plain.retain(|(key, _)| key != "spring.profiles");
    plain
}

/// The value of a key; appends a new key.
fn entry<'a, V: Default>(all: &'a mut Vec<(String, V)>, key: &str) -> &'a mut V {
    let at = all.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
        all.push((key.to_string(), V::default()));
        all.len() - 1
    });
    #[expect(clippy::indexing_slicing, reason = "just found or pushed")]
    &mut all[at].1
}

/// Each part of a key is a level of the tree; protects the stack.
const MAX_KEY_DEPTH: usize = 64;

#[derive(Debug, Clone)]
enum Step {
    Name(String),
    Index(usize),
}

/// Splits `a.b[0].c` into steps. Any other key becomes a single name.
fn steps(key: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in key.split('.') {
        let (name, indices) = part.split_once('[').map_or((part, None), |(name, indices)| (name, Some(indices)));
        if name.is_empty() {
            return vec![Step::Name(key.into())];
        }
        steps.push(Step::Name(name.into()));
        for index in indices.into_iter().flat_map(|indices| indices.split('[')) {
            match index.strip_suffix(']').and_then(|index| index.parse().ok()).filter(|index| *index < MAX_LIST_LEN) {
                Some(index) => steps.push(Step::Index(index)),
                None => return vec![Step::Name(key.into())],
            }
        }
    }
    if steps.len() > MAX_KEY_DEPTH { vec![Step::Name(key.into())] } else { steps }
}

fn tree(flat: FlatProperties) -> yaml::Value {
    let mut root = yaml::Value::Mapping(yaml::Mapping::new());
    for (key, value) in flat {
        let leaf = yaml::to_value(&value).unwrap_or_default();
        set(&mut root, &steps(&key), leaf);
    }
    root
}

fn set(node: &mut yaml::Value, steps: &[Step], leaf: yaml::Value) {
    let Some((step, rest)) = steps.split_first() else {
        *node = leaf;
        return;
    };
    match step {
        Step::Index(index) => {
            if !node.is_sequence() {
                *node = yaml::Value::Sequence(Vec::new());
            }
            let Some(items) = node.as_sequence_mut() else { return };
            while items.len() <= *index {
                items.push(yaml::Value::Null);
            }
            if let Some(item) = items.get_mut(*index) {
                set(item, rest, leaf);
            }
        }
        Step::Name(name) => {
            if !node.is_mapping() {
                *node = yaml::Value::Mapping(yaml::Mapping::new());
            }
            let Some(members) = node.as_mapping_mut() else { return };
            let is_leaf = members.get(name.as_str()).is_some_and(|inner| !inner.is_mapping() && !inner.is_null());
            match rest.first() {
                // both `a.b` and `a.b.c` have a value: as in Spring, the latter becomes a member named `b.c`
                Some(Step::Name(next)) if is_leaf => {
                    let joined = std::iter::once(Step::Name(format!("{name}.{next}")));
                    let rest: Vec<Step> = joined.chain(rest.iter().skip(1).cloned()).collect();
                    set(node, &rest, leaf);
                }
                _ => set(members.entry(name.as_str().into()).or_insert(yaml::Value::Null), rest, leaf),
            }
        }
    }
}
