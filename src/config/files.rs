//! Settings whose values stand in files: `TRADEPOST__ORDER__STORE_FILE=/run/secrets/store`, as Docker's images have
//! it. What is in a file is in no list of a container's variables, and no child process inherits it.

use super::error::{SettingsError, ValueFileError};
use super::keys::{is_known, known_keys};
use config::{Config, ConfigError, Map, Value};
use std::io::Read;

const PREFIX: &str = "tradepost__";
const SUFFIX: &str = "_file";
/// Far more than a setting has: who names a larger file has named another one.
const LARGEST: u64 = 64 << 10;
/// How the origin of such a value begins.
const ORIGIN: &str = "the file ";

/// Our variables, with what the files say in the place of their paths.
pub(super) struct Variables {
    pub(super) all: Map<String, String>,
    /// Keys that came from files, with where.
    origins: Vec<(String, String)>,
}

/// Reads what the variables name. `given`: in place of the process's own environment.
pub(super) fn read(given: Option<Map<String, String>>) -> Result<Variables, SettingsError> {
    let given = given.map_or_else(ours, Ok)?;
    let known = known_keys()?;
    let mut variables = Variables { all: Map::new(), origins: Vec::new() };
    for (name, value) in &given {
        // `vault.token_file` is a setting of its own
        let target = key(name).filter(|key| !is_known(key, &known)).and_then(|key| key.strip_suffix(SUFFIX).map(str::to_string));
        let Some(target) = target.filter(|key| is_known(key, &known)) else {
            variables.all.insert(name.clone(), value.clone());
            continue;
        };
        if let Some(other) = given.keys().find(|other| key(other).as_ref() == Some(&target)) {
            return Err(SettingsError::Twice { one: other.clone(), other: name.clone() });
        }
        let content = content(value).map_err(|cause| SettingsError::ValueFile { variable: name.clone(), path: value.clone(), cause })?;
        variables.origins.push((target, format!("{ORIGIN}{value} ({name})")));
        variables.all.insert(name.chars().take(name.len() - SUFFIX.len()).collect(), content);
    }
    Ok(variables)
}

impl Variables {
    /// The layer that was made of them, told which of its values came from files.
    pub(super) fn mark(&self, layer: Config) -> Result<Config, ConfigError> {
        let mut builder = Config::builder().add_source(layer.clone());
        for (key, origin) in &self.origins {
            builder = builder.set_override(key, Value::new(Some(origin), layer.get::<Value>(key)?.kind))?;
        }
        builder.build()
    }
}

/// Whether this is where such a value came from.
pub(super) fn is_origin(origin: &str) -> bool {
    origin.starts_with(ORIGIN)
}

/// Of the process's variables those that are ours.
fn ours() -> Result<Map<String, String>, SettingsError> {
    let named = std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().map(|name| (name, value)));
    let ours = named.filter(|(name, _)| key(name).is_some());
    ours.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(SettingsError::NotUtf8 { variable: name }),
    })
    .collect()
}

/// `order.store` for `TRADEPOST__ORDER__STORE`, in whatever case.
fn key(name: &str) -> Option<String> {
    name.to_lowercase().strip_prefix(PREFIX).map(|rest| rest.replace("__", "."))
}

fn content(path: &str) -> Result<String, ValueFileError> {
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(ValueFileError::TooLarge { limit: LARGEST });
    }
    let text = String::from_utf8(bytes).map_err(|_| ValueFileError::NotUtf8)?;
    match text.trim() {
        "" => Err(ValueFileError::Empty),
        value => Ok(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Loaded, SettingsError, load_with};

    /// What is loaded where the variable names a file with this content.
    fn with(variable: &str, content: &[u8]) -> Result<Loaded, SettingsError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("value");
        std::fs::write(&path, content).unwrap();
        loaded(&[(variable, path.to_str().unwrap())])
    }

    fn loaded(pairs: &[(&str, &str)]) -> Result<Loaded, SettingsError> {
        load_with(None, &vec![], Some(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()), false)
    }

    #[test]
    fn what_the_file_says_without_the_line_end_is_the_value() {
        let found = with("TRADEPOST__ORDER__STORE_FILE", b" mysql://u:00423@h/orders\r\n").unwrap();
        assert_eq!(found.settings.order.store.unwrap().expose(), "mysql://u:00423@h/orders");
        let origin = &found.origins["order.store"];
        assert!(origin.starts_with("the file /") && origin.ends_with("/value (TRADEPOST__ORDER__STORE_FILE)"), "{origin}");
        assert!(!origin.contains("00423"), "{origin}");
        // lists, numbers, a single peer and any case
        assert_eq!(with("TRADEPOST__SERVER__MODULES_FILE", b"order,product\n").unwrap().settings.server.modules, ["order", "product"]);
        assert_eq!(with("tradepost__order__max_lines_file", b"7").unwrap().settings.order.max_lines, 7);
        assert_eq!(with("TRADEPOST__PEERS__PRODUCT_FILE", b"http://p:1").unwrap().settings.peers["product"], "http://p:1");
    }

    #[test]
    fn a_setting_that_is_called_so_stays_that_setting() {
        let vault = loaded(&[("TRADEPOST__VAULT__TOKEN_FILE", "/nowhere")]).unwrap().settings.vault;
        assert_eq!((vault.token_file.unwrap().to_str(), vault.token), (Some("/nowhere"), None));
    }

    #[test]
    fn what_cannot_be_the_value_of_a_setting_stops_the_start_and_the_variable_is_named() {
        for (content, expected) in [
            (b"".as_slice(), "is empty"),
            (b" \n", "is empty"),
            (b"\xff\xfe", "not UTF-8"),
            (&[b'x'; (64 << 10) + 1], "more than 65536 bytes"),
        ] {
            let said = with("TRADEPOST__BUS__PASSWORD_FILE", content).unwrap_err().to_string();
            assert!(said.contains("TRADEPOST__BUS__PASSWORD_FILE=/") && said.contains(expected), "{said}");
        }
        let said = loaded(&[("TRADEPOST__BUS__PASSWORD_FILE", "/nowhere")]).unwrap_err().to_string();
        assert!(said.contains("TRADEPOST__BUS__PASSWORD_FILE=/nowhere") && said.contains("No such file"), "{said}");
        let said =
            loaded(&[("TRADEPOST__BUS__PASSWORD_FILE", "/nowhere"), ("TRADEPOST__BUS__PASSWORD", "s3cret")]).unwrap_err().to_string();
        assert!(said.contains("TRADEPOST__BUS__PASSWORD and TRADEPOST__BUS__PASSWORD_FILE are both set"), "{said}");
        let said = loaded(&[("TRADEPOST__BUS__PASSWROD_FILE", "/nowhere")]).unwrap_err().to_string();
        assert!(said.contains("unknown setting `bus.passwrod_file`"), "{said}");
    }

    #[test]
    fn a_value_that_does_not_fit_is_not_repeated() {
        let said = with("TRADEPOST__ORDER__MAX_LINES_FILE", b"s3cret").unwrap_err().to_string();
        assert!(said.contains("`order.max_lines` in the file /") && !said.contains("s3cret"), "{said}");
    }

    #[test]
    fn it_is_read_again_with_the_other_layers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("level");
        let read = |content| {
            std::fs::write(&path, content).unwrap();
            loaded(&[("TRADEPOST__LOG__LEVEL_FILE", path.to_str().unwrap())]).unwrap()
        };
        assert_eq!(read("info").changed(&read("debug\n")), ["log.level"]);
        assert!(read("debug").changed(&read("debug\n")).is_empty());
    }
}
