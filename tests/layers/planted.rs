//! Each rule turns red on a planted violation: in a small tree of sources, and in the real one.

use crate::graph::Sources;
use crate::rules::{LAYERS, violations};
use crate::sources;

/// Sources with every layer, a file `part.rs` in each, and two modules.
fn small_tree() -> Sources {
    let mut lib = String::new();
    let mut all = Sources::new();
    let mut add = |path: &str, text: &str| all.insert(path.to_string(), text.to_string());
    for layer in LAYERS.iter().map(|layer| layer.name) {
        if layer == "modules" {
            lib += "#[path = \"../modules/mod.rs\"]\npub mod modules;\n";
            continue;
        }
        lib += &format!("pub mod {layer};\n");
        add(&format!("src/{layer}/mod.rs"), "pub mod other;\npub mod part;\npub use part::Thing;\npub struct Parent(Thing);\n");
        add(&format!("src/{layer}/other.rs"), "use super::part::call;\npub fn call_part() { call(); }\n");
        add(&format!("src/{layer}/part.rs"), "pub struct Thing;\npub const LIMIT: u32 = 1;\npub fn call() {}\n");
    }
    add("src/rpc/mod.rs", "pub mod client;\npub mod other;\npub mod part;\npub use part::Thing;\npub struct Parent(Thing);\n");
    add("src/rpc/client.rs", "pub struct Remote;\n");
    lib += "pub fn helper() {}\n";
    add("src/lib.rs", &lib);
    add("modules/mod.rs", "pub mod inventory;\npub mod order;\n");
    for module in ["inventory", "order"] {
        add(
            &format!("modules/{module}/mod.rs"),
            "pub mod api;\npub mod audit;\npub use audit::Facts;\nmod service;\nmod store;\npub fn build() {}\n",
        );
        add(&format!("modules/{module}/api.rs"), "pub trait Api {}\n");
        add(&format!("modules/{module}/audit.rs"), "pub struct Facts;\n");
        add(
            &format!("modules/{module}/service.rs"),
            "use super::store::Stored;\nuse crate::kernel::Thing;\npub struct Service(Stored, Thing);\n",
        );
        add(&format!("modules/{module}/store.rs"), "pub struct Stored;\n");
    }
    all
}

/// What the rules say when a line is added to a file.
fn planted(mut all: Sources, file: &str, line: &str) -> String {
    let text = all.get_mut(file).unwrap_or_else(|| panic!("{file} is not there"));
    let comment: usize = text.lines().take_while(|line| line.starts_with("//!") || line.is_empty()).map(|line| line.len() + 1).sum();
    text.insert_str(comment, &format!("{line}\n"));
    violations(&all).join("\n")
}

#[test]
fn small_tree_as_it_is_keeps_every_rule() {
    assert_eq!(violations(&small_tree()), Vec::<String>::new());
}

macro_rules! red {
    ($($name:ident: $file:literal, $line:literal => $expected:literal;)*) => {$(
        #[test]
        fn $name() {
            let found = planted(small_tree(), $file, $line);
            assert!(found.contains($expected), "planted in {}: {}\nfound: {found}", $file, $line);
        }
    )*};
}

red! {
    use_of_a_lower_layer_is_red: "src/kernel/part.rs", "use crate::settings::Thing;" => "layer kernel uses layer settings";
    super_path_to_a_lower_layer_is_red: "src/data/part.rs", "use super::super::events::part::call;" => "layer data uses layer events";
    use_tree_in_braces_is_red: "src/net/part.rs", "use crate::{kernel::Thing as K, observe::{part::{LIMIT, call as c}, Thing as O}};" => "layer net uses layer observe";
    renamed_module_is_red: "src/rpc/part.rs", "use crate::ops::part as quiet; fn f() { quiet::call(); }" => "layer rpc uses layer ops";
    glob_is_red: "src/settings/part.rs", "use crate::config::*; type T = Thing2; struct Thing2;" => "layer settings uses layer config";
    path_in_an_expression_is_red: "src/edge/part.rs", "fn f() { if true { crate::ops::part::call() } }" => "layer edge uses layer ops";
    path_in_a_type_is_red: "src/events/part.rs", "struct Planted(Vec<Option<crate::edge::Thing>>);" => "layer events uses layer edge";
    path_in_a_pattern_is_red: "src/events/part.rs", "fn f(n: u32) -> bool { matches!(n, crate::edge::part::LIMIT) }" => "layer events uses layer edge";
    app_from_a_module_is_red: "modules/order/service.rs", "fn f() { crate::app::part::call(); }" => "layer modules uses layer app";
    code_behind_an_address_on_its_line_is_red: "modules/order/store.rs", "fn f() -> &'static str { let url = \"http://localhost\"; crate::app::part::call(); url }" => "layer modules uses layer app";
    path_in_a_macro_is_red: "src/observe/part.rs", "fn f() { println!(\"{}\", crate::rpc::part::LIMIT); }" => "layer observe uses layer rpc";
    path_in_a_macro_rule_is_red: "src/observe/part.rs", "macro_rules! planted { () => { $crate::rpc::part::call() }; }" => "layer observe uses layer rpc";
    path_in_an_attribute_is_red: "src/kernel/part.rs", "#[derive(serde::Serialize)] struct P { #[serde(serialize_with = \"crate::events::part::call\")] id: u8 }" => "layer kernel uses layer events";
    re_export_from_a_lower_layer_is_red: "src/rpc/part.rs", "pub use crate::config::part::call as quietly;" => "layer rpc uses layer config";
    use_within_a_function_is_red: "src/kernel/part.rs", "fn f() { use crate::net::part as quiet; quiet::call(); }" => "layer kernel uses layer net";
    inside_of_another_module_is_red: "modules/order/service.rs", "use super::super::inventory::audit::Facts;" => "module order uses more of module inventory than its contract";
    re_exported_inside_of_another_module_is_red: "modules/order/service.rs", "fn f(_: crate::modules::inventory::Facts) {}" => "module order uses more of module inventory than its contract";
    module_built_outside_the_wiring_is_red: "src/app/part.rs", "fn f() { crate::modules::order::build(); }" => "only src/app/wiring.rs builds modules";
    remote_peer_outside_the_wiring_is_red: "src/app/part.rs", "fn f(_: crate::rpc::client::Remote) {}" => "only src/app/wiring.rs builds modules";
    item_in_lib_rs_is_red: "src/app/part.rs", "fn f() { crate::helper(); }" => "src/lib.rs only declares the layers";
    circle_of_two_files_is_red: "src/kernel/part.rs", "use super::other::call_part; fn f() { call_part(); }" => "circle: src/kernel/other.rs, src/kernel/part.rs";
    child_that_uses_its_parent_is_red: "src/ops/part.rs", "fn f(_: super::Parent) {}" => "circle: src/ops/mod.rs, src/ops/part.rs";
}

#[test]
fn code_for_tests_is_free() {
    assert_eq!(planted(small_tree(), "src/kernel/part.rs", "#[cfg(test)] mod planted { use crate::app::Thing; }"), "");
}

#[test]
fn contract_of_another_module_is_free() {
    assert_eq!(planted(small_tree(), "modules/order/service.rs", "use crate::modules::inventory::api::Api;"), "");
}

#[test]
fn real_sources_with_a_planted_line_are_red() {
    let found = planted(sources(), "modules/order/events.rs", "fn planted() { crate::app::serve::stop_signal(); }");
    assert!(found.contains("modules/order/events.rs:") && found.contains("layer modules uses layer app"), "{found}");
}
