//! An application's settings as one text: properties, YAML or JSON.
//!
//! Source: spring-cloud-config `EnvironmentController`. Placeholders are resolved in each value, not in
//! the finished text, so that a value with a quote in it does not break the document.

use super::document::{Flat, plain};
use super::environment::Environment;
use crate::kernel::problem::Problem;
use serde_json::Value;
use serde_yaml_ng as yaml;

/// A list is filled up to its largest index: no honest one is longer.
const LONGEST_LIST: usize = 10_000;

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    /// `key: value` lines.
    Properties,
    Yaml,
    Json,
}

impl Form {
    /// The part before the ending, and the form that it names.
    pub(super) fn of(file: &str) -> Option<(&str, Form)> {
        let (stem, ending) = file.rsplit_once('.')?;
        let form = match ending {
            "properties" => Form::Properties,
            "yml" | "yaml" => Form::Yaml,
            "json" => Form::Json,
            _ => return None,
        };
        Some((stem, form))
    }

    /// Its media type, as the real server has it.
    pub(super) fn media(self) -> &'static str {
        if self == Form::Json { "application/json" } else { "text/plain;charset=UTF-8" }
    }
}

/// The text.
pub(super) fn write(environment: &Environment, form: Form, resolve: bool) -> Result<String, Problem> {
    let mut flat = combined(environment);
    if resolve {
        for (_, value) in &mut flat {
            if let Value::String(text) = value {
                *text = environment.resolve(text)?;
            }
        }
    }
    match form {
        Form::Properties => Ok(flat.iter().map(|(key, value)| format!("{key}: {}", plain(value))).collect::<Vec<_>>().join("\n")),
        Form::Yaml => yaml::to_string(&tree(flat)).map_err(Problem::internal),
        Form::Json => serde_json::to_string(&tree(flat)).map_err(Problem::internal),
    }
}

/// Each key once, with its strongest value; a list comes whole from the strongest source that has it.
fn combined(environment: &Environment) -> Flat {
    let (mut plain, mut lists): (Flat, Vec<(String, Flat)>) = (Vec::new(), Vec::new());
    for source in environment.property_sources.iter().rev() {
        let mut here: Vec<(String, Flat)> = Vec::new();
        for (key, value) in &source.source {
            match key.split_once('[') {
                Some((list, _)) => put(&mut here, list).push((key.clone(), value.clone())),
                None => *put(&mut plain, key) = value.clone(),
            }
        }
        for (list, items) in here {
            *put(&mut lists, &list) = items;
        }
    }
    plain.extend(lists.into_iter().flat_map(|(_, items)| items));
    plain.retain(|(key, _)| key != "spring.profiles");
    plain
}

/// The place of a key, at the end where it is new.
fn put<'a, V: Default>(all: &'a mut Vec<(String, V)>, key: &str) -> &'a mut V {
    let at = all.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
        all.push((key.to_string(), V::default()));
        all.len() - 1
    });
    #[expect(clippy::indexing_slicing, reason = "just found or pushed")]
    &mut all[at].1
}

/// No honest key has more parts; each is a level of the tree.
const DEEPEST: usize = 64;

/// One step of a key.
#[derive(Debug, Clone)]
enum Step {
    Name(String),
    Index(usize),
}

/// `a.b[0].c` in steps; a key that is not of this form is a name as a whole.
fn steps(key: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in key.split('.') {
        let (name, indices) = part.split_once('[').map_or((part, None), |(name, indices)| (name, Some(indices)));
        if name.is_empty() {
            return vec![Step::Name(key.into())];
        }
        steps.push(Step::Name(name.into()));
        for index in indices.into_iter().flat_map(|indices| indices.split('[')) {
            match index.strip_suffix(']').and_then(|index| index.parse().ok()).filter(|index| *index < LONGEST_LIST) {
                Some(index) => steps.push(Step::Index(index)),
                None => return vec![Step::Name(key.into())],
            }
        }
    }
    if steps.len() > DEEPEST { vec![Step::Name(key.into())] } else { steps }
}

fn tree(flat: Flat) -> yaml::Value {
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
            let taken = members.get(name.as_str()).is_some_and(|inner| !inner.is_mapping() && !inner.is_null());
            match rest.first() {
                // `a.b` has a value, and so has `a.b.c`: as in Spring, the second is a member named `b.c`
                Some(Step::Name(next)) if taken => {
                    let joined = std::iter::once(Step::Name(format!("{name}.{next}")));
                    let rest: Vec<Step> = joined.chain(rest.iter().skip(1).cloned()).collect();
                    set(node, &rest, leaf);
                }
                _ => set(members.entry(name.as_str().into()).or_insert(yaml::Value::Null), rest, leaf),
            }
        }
    }
}
