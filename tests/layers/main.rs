//! The order of the layers, and no circle between files: checked on the sources of `src/` and `modules/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a failing test panics")]

mod drawing;
mod graph;
mod planted;
mod rules;

use graph::Sources;
use std::path::Path;

/// The sources of this checkout.
fn sources() -> Sources {
    let mut all = Sources::new();
    for folder in ["src", "modules"] {
        read(Path::new(env!("CARGO_MANIFEST_DIR")), folder, &mut all);
    }
    all
}

fn read(root: &Path, folder: &str, all: &mut Sources) {
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read(root, &path, all);
        } else if path.ends_with(".rs") {
            all.insert(path, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

#[test]
fn sources_as_they_are_keep_every_rule() {
    let wrong = rules::violations(&sources());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_source_file_is_in_the_module_tree() {
    let all = sources();
    let known = graph::files(&all);
    let stray: Vec<_> = all.keys().filter(|file| !known.contains(*file) && *file != "src/main.rs").collect();
    assert!(stray.is_empty(), "no module declares {stray:?}");
}
