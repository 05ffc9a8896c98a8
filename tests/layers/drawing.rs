//! The table of layers in ARCHITECTURE.md is that of the rules.

use crate::rules::LAYERS;
use crate::{graph, sources};
use std::collections::BTreeSet;
use std::path::Path;

const BEGIN: &str = "<!-- layers: written by `UPDATE_DRAWING=1 cargo test --test layers drawing` -->\n";
const END: &str = "<!-- end of layers -->\n";

/// The layers, what each holds, and which layers above it it uses.
fn drawing() -> String {
    let edges = graph::edges(&sources());
    let layer = |file: &str| file.strip_prefix("src/").unwrap_or(file).split('/').next().unwrap_or_default().to_string();
    let mut text = "| layer | holds | uses |\n| --- | --- | --- |\n".to_string();
    for (rank, row) in LAYERS.iter().enumerate() {
        let used: BTreeSet<String> = edges.iter().filter(|edge| layer(&edge.from) == row.name).map(|edge| layer(&edge.to)).collect();
        let used: Vec<&str> = LAYERS[..rank].iter().map(|above| above.name).filter(|name| used.contains(*name)).collect();
        let used = if used.is_empty() { "nothing".into() } else { used.join(", ") };
        text += &format!("| `{}` | {} | {used} |\n", row.name, row.holds);
    }
    text
}

#[test]
fn architecture_has_the_table_of_the_rules() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the mark where the table begins");
    let (table, after) = rest.split_once(END).expect("the mark where the table ends");
    let wanted = drawing();
    if std::env::var_os("UPDATE_DRAWING").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(table, wanted, "run UPDATE_DRAWING=1 cargo test --test layers drawing");
}
