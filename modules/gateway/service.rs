//! Service names in routes, and the modules that they stand for.

use crate::kernel::module::Module;

/// The module with this service name. The registry and the config server have no fixed service name:
/// routes name them freely, so their names go to discovery unchanged.
fn module_of(service: &str) -> Option<Module> {
    let mut routed = Module::ALL.into_iter().filter(|module| !matches!(module, Module::Registry | Module::ConfigServer));
    routed.find(|module| module.application_name().eq_ignore_ascii_case(service))
}

/// The name for discovery: the module's name, or the service name itself if it is not a module's.
pub(super) fn discovery_name(service: &str) -> &str {
    match module_of(service) {
        Some(module) => module.name(),
        None => service,
    }
}

pub(super) fn is_module(service: &str) -> bool {
    module_of(service).is_some()
}
