//! Each rule turns red on a planted violation.

use crate::{rules, sources};

/// Adds a line to a file as it is, and returns what the rules say that they did not say before.
fn planted(file: &str, line: &str) -> String {
    let mut all = sources();
    let before = rules::violations(&all);
    let text = all.get_mut(file).unwrap_or_else(|| panic!("{file} is not there"));
    // after the comment of the module
    let at = text.lines().take_while(|line| line.starts_with("//!") || line.is_empty()).map(|line| line.len() + 1).sum();
    text.insert_str(at, &format!("{line}\n"));
    let new = rules::violations(&all);
    new.into_iter().filter(|line| !before.contains(line)).collect::<Vec<_>>().join("\n")
}

macro_rules! red {
    ($($name:ident: $file:literal, $line:literal => $expected:literal;)*) => {$(
        #[test]
        fn $name() {
            let found = planted($file, $line);
            assert!(found.contains($expected), "planted in {}: {}\nfound: {found}", $file, $line);
        }
    )*};
}

red! {
    plain_use_of_a_lower_layer: "src/kernel/clock.rs", "use crate::settings::Settings;" => "layer kernel uses layer settings";
    super_path_to_a_lower_layer: "src/data/mysql/schema.rs", "use super::super::super::events::bus::Bus;" => "layer data uses layer events";
    use_tree_in_braces: "src/net/http.rs", "use crate::{kernel::clock, observe::{metrics::BUCKETS, trace::Span}};" => "layer net uses layer observe";
    renamed_use: "src/rpc/context.rs", "use crate::ops::actuator as quiet;" => "layer rpc uses layer ops";
    glob: "src/settings/edges.rs", "use crate::config::*;" => "layer settings uses layer config";
    path_in_an_expression: "src/edge/exchanges.rs", "fn planted() -> bool { crate::ops::actuator::endpoints as fn(_) -> _; true }" => "layer edge uses layer ops";
    path_in_a_type: "src/events/event.rs", "struct Planted(Vec<Option<crate::edge::web::Edge>>);" => "layer events uses layer edge";
    app_from_a_module: "modules/order/placing.rs", "fn planted() { crate::app::audit::run(); }" => "layer modules uses layer app";
    behind_an_address_on_the_line: "modules/order/events.rs", "fn planted() -> &'static str { let url = \"http://localhost\"; crate::app::serve::told_to_stop(); url }" => "layer modules uses layer app";
    path_in_a_macro: "src/observe/metrics/mod.rs", "fn planted() { tracing::info!(n = crate::rpc::contract::client::IDLE, \"planted\"); }" => "layer observe uses layer rpc";
    path_in_an_attribute: "src/kernel/sku.rs", "#[derive(serde::Serialize)] struct Planted { #[serde(serialize_with = \"crate::events::bus::raw\")] id: u8 }" => "layer kernel uses layer events";
    re_export_that_hides_the_layer: "src/rpc/loopback.rs", "pub use crate::config::load as quietly;" => "layer rpc uses layer config";
    super_path_into_another_module: "modules/order/service.rs", "use super::super::inventory::audit::Facts;" => "module order uses more of module inventory than its contract";
    store_of_another_module: "modules/notification/events.rs", "fn planted(_: &crate::modules::order::store::StoredOrder) {}" => "module notification uses more of module order than its contract";
    circle_of_two_files: "src/kernel/page.rs", "use super::problem::Problem; fn planted(_: Problem) {}" => "circle";
    child_that_uses_its_parent: "src/ops/actuator/env.rs", "fn planted() { super::endpoints; }" => "circle";
    item_in_lib_rs: "src/kernel/money.rs", "use crate::planted_in_lib;" => "src/lib.rs only declares";
}

#[test]
fn use_within_a_function_counts() {
    assert!(planted("src/kernel/uri.rs", "fn planted() { use crate::net::http as quiet; quiet::http(); }").contains("layer kernel uses layer net"));
}

#[test]
fn code_for_tests_is_free() {
    assert_eq!(planted("src/kernel/uri.rs", "#[cfg(test)] mod planted { use crate::app::wiring; }"), "");
}
