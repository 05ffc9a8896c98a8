//! An instance and the registry's answers as Eureka's JSON has them.
//!
//! Source: Netflix/eureka `EurekaJacksonCodec`, `InstanceInfoJsonBeanSerializer`, `LeaseInfo`. Read
//! tolerantly (numbers as text and text as numbers, both spellings of `overriddenStatus`), written
//! exactly: the Java mapper may fail on a field it does not know, and wants its arrays as arrays.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// What traffic an instance takes: only `UP` takes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum Status {
    Up,
    Down,
    Starting,
    OutOfService,
    #[default]
    Unknown,
}

impl Status {
    /// By its name on the wire; what is no status is `UNKNOWN`, as Eureka reads it.
    pub fn of(name: &str) -> Self {
        match name.to_ascii_uppercase().as_str() {
            "UP" => Status::Up,
            "DOWN" => Status::Down,
            "STARTING" => Status::Starting,
            "OUT_OF_SERVICE" => Status::OutOfService,
            _ => Status::Unknown,
        }
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Status::Up => "UP",
            Status::Down => "DOWN",
            Status::Starting => "STARTING",
            Status::OutOfService => "OUT_OF_SERVICE",
            Status::Unknown => "UNKNOWN",
        }
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(|name| Status::of(&name)).unwrap_or_default())
    }
}

/// What a delta says has become of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Action {
    #[default]
    Added,
    Modified,
    Deleted,
}

/// A port and whether it is in use: `{"$":8080,"@enabled":"true"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Whether it answers.
    pub enabled: bool,
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::json!({ "$": self.number, "@enabled": self.enabled.to_string() }).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let (number, enabled) = match &value {
            Value::Object(members) => (members.get("$"), members.get("@enabled").is_none_or(|flag| plain(flag).as_deref() == Some("true"))),
            other => (Some(other), true),
        };
        let number = number.and_then(plain).and_then(|text| text.parse().ok());
        Ok(Port { number: number.ok_or_else(|| serde::de::Error::custom("a port is a number from 0 to 65535"))?, enabled })
    }
}

/// Which data centre runs the instance; the class comes first, since the mapper chooses by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataCenter {
    /// The Java class.
    #[serde(rename = "@class", default = "DataCenter::class")]
    pub class: String,
    /// `MyOwn`, `Amazon`, `Netflix`.
    #[serde(default)]
    pub name: String,
    /// What Amazon's says of its machine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "metadata")]
    pub metadata: BTreeMap<String, String>,
}

impl DataCenter {
    fn class() -> String {
        "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo".into()
    }
}

impl Default for DataCenter {
    fn default() -> Self {
        Self { class: Self::class(), name: "MyOwn".into(), metadata: BTreeMap::new() }
    }
}

/// How long a registration lasts; times in milliseconds since 1970, 0 for never.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Lease {
    #[serde(deserialize_with = "number")]
    pub renewal_interval_in_secs: i64,
    #[serde(deserialize_with = "number")]
    pub duration_in_secs: i64,
    #[serde(deserialize_with = "number")]
    pub registration_timestamp: i64,
    #[serde(deserialize_with = "number", alias = "renewalTimestamp")]
    pub last_renewal_timestamp: i64,
    #[serde(deserialize_with = "number")]
    pub eviction_timestamp: i64,
    #[serde(deserialize_with = "number")]
    pub service_up_timestamp: i64,
}

impl Default for Lease {
    /// What a client means that says nothing of its lease: `LeaseInfo`'s defaults.
    fn default() -> Self {
        Self {
            renewal_interval_in_secs: 30,
            duration_in_secs: 90,
            registration_timestamp: 0,
            last_renewal_timestamp: 0,
            eviction_timestamp: 0,
            service_up_timestamp: 0,
        }
    }
}

/// One instance of an application. What `Option` leaves out the registrant did not send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Instance {
    #[serde(deserialize_with = "text")]
    pub instance_id: String,
    #[serde(deserialize_with = "text")]
    pub host_name: String,
    #[serde(deserialize_with = "text")]
    pub app: String,
    #[serde(deserialize_with = "text")]
    pub ip_addr: String,
    pub status: Status,
    #[serde(alias = "overriddenstatus")]
    pub overridden_status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_port: Option<Port>,
    #[serde(deserialize_with = "number")]
    pub country_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_center_info: Option<DataCenter>,
    pub lease_info: Lease,
    #[serde(deserialize_with = "metadata")]
    pub metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_group_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asg_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_page_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_page_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_health_check_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_vip_address: Option<String>,
    #[serde(rename = "isCoordinatingDiscoveryServer", deserialize_with = "flag", serialize_with = "quoted")]
    pub coordinating: bool,
    #[serde(deserialize_with = "number", serialize_with = "quoted")]
    pub last_updated_timestamp: i64,
    #[serde(deserialize_with = "number", serialize_with = "quoted")]
    pub last_dirty_timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_type: Option<Action>,
}

/// Instances of one application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct Application {
    #[serde(default)]
    pub name: String,
    #[serde(default, deserialize_with = "one_or_many")]
    pub instance: Vec<Instance>,
}

/// A registry, or what has changed in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct Applications {
    #[serde(rename = "versions__delta", default, deserialize_with = "number", serialize_with = "quoted")]
    pub version: i64,
    #[serde(rename = "apps__hashcode", default)]
    pub hash: String,
    #[serde(default, deserialize_with = "one_or_many")]
    pub application: Vec<Application>,
}

/// Counts by status over the whole registry, sorted by the status's name: `DOWN_1_UP_2_`.
/// Source: `Applications.getReconcileHashCode`.
pub fn hash<'a>(instances: impl Iterator<Item = &'a Instance>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for instance in instances {
        *counts.entry(instance.status.name()).or_default() += 1;
    }
    counts.into_iter().map(|(status, count)| format!("{status}_{count}_")).collect()
}

/// Text of what may be written as text, number or flag.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<Value>::deserialize(deserializer)?.as_ref().and_then(plain).unwrap_or_default())
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = text(deserializer)?;
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| serde::de::Error::custom(format!("`{text}` is not a whole number")))
}

fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(text(deserializer)? == "true")
}

/// Eureka writes these as text.
fn quoted<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

/// An empty map comes as `{"@class":"java.util.Collections$EmptyMap"}`.
fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let members = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(members.iter().filter(|(key, _)| *key != "@class").filter_map(|(key, value)| Some((key.clone(), plain(value)?))).collect())
}

/// XStream's JSON writes a list of one as its only element.
fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany<T> {
        Many(Vec<T>),
        One(T),
        None,
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::Many(all) => all,
        OneOrMany::One(one) => vec![one],
        OneOrMany::None => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_clients_send_is_read() {
        let read: Instance = serde_json::from_value(json!({
            "instanceId": "h:order:1", "hostName": "h", "app": "ORDER", "ipAddr": "10.0.0.1", "overriddenstatus": "OUT_OF_SERVICE",
            "status": "UP", "port": {"$": "8080", "@enabled": true}, "securePort": 443, "countryId": "1", "sid": "na",
            "dataCenterInfo": {"@class": "x", "name": "MyOwn"}, "metadata": {"@class": "java.util.Collections$EmptyMap"},
            "lastDirtyTimestamp": 12, "leaseInfo": {"renewalTimestamp": 7}
        }))
        .unwrap();
        assert_eq!(read.overridden_status, Status::OutOfService);
        assert_eq!((read.port.unwrap().number, read.secure_port.unwrap().number), (8080, 443));
        assert!(read.metadata.is_empty());
        assert_eq!((read.last_dirty_timestamp, read.lease_info.last_renewal_timestamp, read.lease_info.duration_in_secs), (12, 7, 90));
    }

    #[test]
    fn what_is_written_is_what_the_java_mapper_reads() {
        let instance = Instance {
            port: Some(Port { number: 80, enabled: true }),
            data_center_info: Some(DataCenter { metadata: [("a".into(), "b".into())].into(), ..DataCenter::default() }),
            ..Instance::default()
        };
        let text = serde_json::to_string(&instance).unwrap();
        assert!(text.contains(r#""port":{"$":80,"@enabled":"true"}"#), "{text}");
        let at = |part: &str| text.find(part).unwrap();
        assert!(at("@class") < at("\"name\":\"MyOwn\"") && at("\"name\":\"MyOwn\"") < at("\"metadata\""), "{text}");
        assert!(text.contains(r#""isCoordinatingDiscoveryServer":"false""#) && text.contains(r#""lastDirtyTimestamp":"0""#), "{text}");
        let one = serde_json::from_value::<Application>(json!({"name": "A", "instance": {"app": "A"}})).unwrap();
        assert_eq!(one.instance.len(), 1);
    }

    #[test]
    fn the_hash_counts_by_status_in_the_order_of_names() {
        let of = |status| Instance { status, ..Instance::default() };
        assert_eq!(hash([of(Status::Up), of(Status::Down), of(Status::Up)].iter()), "DOWN_1_UP_2_");
        assert_eq!(hash([].iter()), "");
    }
}
