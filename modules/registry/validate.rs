//! Validation of an instance before it is registered.

use crate::kernel::problem::Problem;
use crate::rpc::discovery::eureka::instance::Instance;

/// Rejects an instance without its required fields. Converts the application name to upper case, as Eureka does.
pub(super) fn validate(app: &str, instance: &mut Instance) -> Result<(), Problem> {
    let center = instance.data_center_info.as_ref().map_or("", |center| &center.name);
    for (field, value) in [
        ("instanceId", instance.instance_id.as_str()),
        ("hostName", &instance.host_name),
        ("ipAddr", &instance.ip_addr),
        ("app", &instance.app),
        ("dataCenterInfo", center),
    ] {
        if value.trim().is_empty() {
            return Err(Problem::invalid_field(format!("instance.{field}"), "is missing"));
        }
    }
    instance.app = instance.app.to_uppercase();
    if instance.app != app {
        return Err(Problem::invalid_field("instance.app", format!("is {}, the path names {app}", instance.app)));
    }
    Ok(())
}
