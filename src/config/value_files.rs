//! Settings read from files: `TRADEPOST__ORDER__STORE_FILE=/run/secrets/store`, the convention of Docker images. A
//! value in a file is not in the container's environment, and child processes do not inherit it.

use super::error::{SettingsError, ValueFileError};
use super::keys::{is_known, known_keys};
use config::{Config, ConfigError, Map, Value};
use std::io::Read;

const PREFIX: &str = "tradepost__";
const SUFFIX: &str = "_file";
/// Far more than any setting needs; a larger file is the wrong file.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Prefix of the origin of a value from a file.
const ORIGIN_PREFIX: &str = "the file ";

/// The `TRADEPOST__` variables; paths of value files are replaced by the files' contents.
pub(super) struct Variables {
    pub(super) all: Map<String, String>,
    /// Keys read from files, with their origin.
    file_origins: Vec<(String, String)>,
}

/// Reads the value files that variables name. `given` replaces the environment of the process.
pub(super) fn read(given: Option<Map<String, String>>) -> Result<Variables, SettingsError> {
    let given = given.map_or_else(process_variables, Ok)?;
    let known = known_keys()?;
    let mut variables = Variables { all: Map::new(), file_origins: Vec::new() };
    for (name, value) in &given {
        // a setting's own name may end with `_file`, such as `vault.token_file`
        let target = key(name).filter(|key| !is_known(key, &known)).and_then(|key| key.strip_suffix(SUFFIX).map(str::to_string));
        let Some(target) = target.filter(|key| is_known(key, &known)) else {
            variables.all.insert(name.clone(), value.clone());
            continue;
        };
        if let Some(other) = given.keys().find(|other| key(other).as_ref() == Some(&target)) {
            return Err(SettingsError::Duplicate { one: other.clone(), other: name.clone() });
        }
        let content = content(value).map_err(|cause| SettingsError::ValueFile { variable: name.clone(), path: value.clone(), cause })?;
        variables.file_origins.push((target, format!("{ORIGIN_PREFIX}{value} ({name})")));
        variables.all.insert(name.chars().take(name.len() - SUFFIX.len()).collect(), content);
    }
    Ok(variables)
}

impl Variables {
    /// Sets the origin of each value in `layer` that was read from a file.
    pub(super) fn set_origins(&self, layer: Config) -> Result<Config, ConfigError> {
        let mut builder = Config::builder().add_source(layer.clone());
        for (key, origin) in &self.file_origins {
            builder = builder.set_override(key, Value::new(Some(origin), layer.get::<Value>(key)?.kind))?;
        }
        builder.build()
    }
}

/// Whether an origin is a value file.
pub(super) fn is_origin(origin: &str) -> bool {
    origin.starts_with(ORIGIN_PREFIX)
}

fn process_variables() -> Result<Map<String, String>, SettingsError> {
    let utf8_names = std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().map(|name| (name, value)));
    let variables = utf8_names.filter(|(name, _)| key(name).is_some());
    variables
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(SettingsError::NotUtf8 { variable: name }),
        })
        .collect()
}

/// `order.store` for `TRADEPOST__ORDER__STORE`; case-insensitive.
fn key(name: &str) -> Option<String> {
    name.to_lowercase().strip_prefix(PREFIX).map(|rest| rest.replace("__", "."))
}

fn content(path: &str) -> Result<String, ValueFileError> {
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ValueFileError::TooLarge { limit: MAX_FILE_BYTES });
    }
    let text = String::from_utf8(bytes).map_err(|_| ValueFileError::NotUtf8)?;
    match text.trim() {
        "" => Err(ValueFileError::Empty),
        value => Ok(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::loader::load_with;
    use crate::config::{Loaded, SettingsError};

    fn load_with_value_file(variable: &str, content: &[u8]) -> Result<Loaded, SettingsError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("value");
        std::fs::write(&path, content).unwrap();
        load(&[(variable, path.to_str().unwrap())])
    }

    fn load(pairs: &[(&str, &str)]) -> Result<Loaded, SettingsError> {
        load_with(None, &vec![], Some(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()), false)
    }

    #[test]
    fn file_content_without_line_end_is_the_value() {
        let found = load_with_value_file("TRADEPOST__ORDER__STORE_FILE", b" mysql://u:00423@h/orders\r\n").unwrap();
        assert_eq!(found.settings.order.store.unwrap().expose(), "mysql://u:00423@h/orders");
        let origin = &found.origins["order.store"];
        assert!(origin.starts_with("the file /") && origin.ends_with("/value (TRADEPOST__ORDER__STORE_FILE)"), "{origin}");
        assert!(!origin.contains("00423"), "{origin}");
        // lists, numbers, a single peer, any case
        assert_eq!(
            load_with_value_file("TRADEPOST__SERVER__MODULES_FILE", b"order,product\n").unwrap().settings.server.modules,
            ["order", "product"]
        );
        assert_eq!(load_with_value_file("tradepost__order__max_lines_file", b"7").unwrap().settings.order.max_lines, 7);
        assert_eq!(load_with_value_file("TRADEPOST__PEERS__PRODUCT_FILE", b"http://p:1").unwrap().settings.peers["product"], "http://p:1");
    }

    #[test]
    fn setting_named_with_file_suffix_is_not_a_value_file() {
        let vault = load(&[("TRADEPOST__VAULT__TOKEN_FILE", "/nowhere")]).unwrap().settings.vault;
        assert_eq!((vault.token_file.unwrap().to_str(), vault.token), (Some("/nowhere"), None));
    }

    #[test]
    fn unusable_file_stops_start_and_names_variable() {
        for (content, expected) in [
            (b"".as_slice(), "is empty"),
            (b" \n", "is empty"),
            (b"\xff\xfe", "not UTF-8"),
            (&[b'x'; (64 << 10) + 1], "more than 65536 bytes"),
        ] {
            let error = load_with_value_file("TRADEPOST__BUS__PASSWORD_FILE", content).unwrap_err().to_string();
            assert!(error.contains("TRADEPOST__BUS__PASSWORD_FILE=/") && error.contains(expected), "{error}");
        }
        let error = load(&[("TRADEPOST__BUS__PASSWORD_FILE", "/nowhere")]).unwrap_err().to_string();
        assert!(error.contains("TRADEPOST__BUS__PASSWORD_FILE=/nowhere") && error.contains("No such file"), "{error}");
        let error = load(&[("TRADEPOST__BUS__PASSWORD_FILE", "/nowhere"), ("TRADEPOST__BUS__PASSWORD", "s3cret")]).unwrap_err().to_string();
        assert!(error.contains("TRADEPOST__BUS__PASSWORD and TRADEPOST__BUS__PASSWORD_FILE are both set"), "{error}");
        let error = load(&[("TRADEPOST__BUS__PASSWROD_FILE", "/nowhere")]).unwrap_err().to_string();
        assert!(error.contains("unknown setting `bus.passwrod_file`"), "{error}");
    }

    #[test]
    fn value_of_wrong_type_is_not_shown() {
        let error = load_with_value_file("TRADEPOST__ORDER__MAX_LINES_FILE", b"s3cret").unwrap_err().to_string();
        assert!(error.contains("`order.max_lines` in the file /") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn reload_reads_file_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("level");
        let read = |content| {
            std::fs::write(&path, content).unwrap();
            load(&[("TRADEPOST__LOG__LEVEL_FILE", path.to_str().unwrap())]).unwrap()
        };
        assert_eq!(read("info").changed_keys(&read("debug\n")), ["log.level"]);
        assert!(read("debug").changed_keys(&read("debug\n")).is_empty());
    }
}
