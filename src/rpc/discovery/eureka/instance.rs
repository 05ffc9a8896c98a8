//! Eureka's JSON format of instances and registries.
//!
//! Source: Netflix/eureka `EurekaJacksonCodec`, `InstanceInfoJsonBeanSerializer`, `LeaseInfo`. Parsing is
//! tolerant (numbers as strings and strings as numbers, both spellings of `overriddenStatus`). Output is
//! exact: the Java mapper may fail on unknown fields and requires arrays even for one element.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// Only an instance that is `UP` takes traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    Up,
    Down,
    Starting,
    OutOfService,
    #[default]
    Unknown,
}

impl Status {
    /// Parses the name in JSON; unknown names become `UNKNOWN`, as in Eureka.
    pub fn of(name: &str) -> Self {
        match name.to_ascii_uppercase().as_str() {
            "UP" => Status::Up,
            "DOWN" => Status::Down,
            "STARTING" => Status::Starting,
            "OUT_OF_SERVICE" => Status::OutOfService,
            _ => Status::Unknown,
        }
    }

    /// The name in JSON.
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

/// The change of an instance in a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    #[default]
    Added,
    Modified,
    Deleted,
}

/// A port and whether it is in use: `{"$":8080,"@enabled":"true"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    pub number: u16,
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
            Value::Object(members) => {
                (members.get("$"), members.get("@enabled").is_none_or(|flag| scalar_text(flag).as_deref() == Some("true")))
            }
            other => (Some(other), true),
        };
        let number = number.and_then(scalar_text).and_then(|text| text.parse().ok());
        Ok(Port { number: number.ok_or_else(|| serde::de::Error::custom("a port is a number from 0 to 65535"))?, enabled })
    }
}

/// The instance's data centre. The class must be the first field: the Java mapper selects the type by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataCenter {
    /// The Java class.
    #[serde(rename = "@class", default = "DataCenter::class")]
    pub class: String,
    /// `MyOwn`, `Amazon`, `Netflix`.
    #[serde(default)]
    pub name: String,
    /// Amazon's instance metadata.
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

/// A registration's lease. Timestamps are in milliseconds since 1970, 0 if unset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
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
    /// `LeaseInfo`'s defaults, for clients that send no lease.
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

/// One instance of an application. A field is `None` if the registrant did not send it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Application {
    #[serde(default)]
    pub name: String,
    #[serde(default, deserialize_with = "one_or_many")]
    pub instance: Vec<Instance>,
}

/// The content of a registry, or a delta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Applications {
    #[serde(rename = "versions__delta", default, deserialize_with = "number", serialize_with = "quoted")]
    pub version: i64,
    #[serde(rename = "apps__hashcode", default)]
    pub hash: String,
    #[serde(default, deserialize_with = "one_or_many")]
    pub application: Vec<Application>,
}

/// Number of instances per status, sorted by status name: `DOWN_1_UP_2_`.
/// Source: `Applications.getReconcileHashCode`.
pub fn hash<'a>(instances: impl Iterator<Item = &'a Instance>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for instance in instances {
        *counts.entry(instance.status.name()).or_default() += 1;
    }
    counts.into_iter().map(|(status, count)| format!("{status}_{count}_")).collect()
}

/// The text of a JSON string, number or boolean.
fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<Value>::deserialize(deserializer)?.as_ref().and_then(scalar_text).unwrap_or_default())
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

/// Eureka writes these values as strings.
fn quoted<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

/// Java clients send an empty map as `{"@class":"java.util.Collections$EmptyMap"}`.
fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let members = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(members.iter().filter(|(key, _)| *key != "@class").filter_map(|(key, value)| Some((key.clone(), scalar_text(value)?))).collect())
}

/// XStream's JSON writes a list with one element as the element itself.
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
    fn instance_in_the_variants_of_clients_is_parsed() {
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
    fn instance_is_written_as_the_java_mapper_expects() {
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
    fn hash_counts_instances_by_status_in_name_order() {
        let of = |status| Instance { status, ..Instance::default() };
        assert_eq!(hash([of(Status::Up), of(Status::Down), of(Status::Up)].iter()), "DOWN_1_UP_2_");
        assert_eq!(hash([].iter()), "");
    }
}
