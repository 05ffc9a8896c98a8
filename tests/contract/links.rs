//! Every relative link of every page resolves to a file, and its anchor to a heading.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Folders without pages of the project.
const EXCLUDED: [&str; 4] = ["target", "data", "node_modules", ".git"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages by their paths from the root.
fn pages() -> BTreeMap<PathBuf, String> {
    let (mut found, mut rest) = (BTreeMap::new(), vec![root().to_path_buf()]);
    while let Some(folder) = rest.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() && !EXCLUDED.contains(&name.as_str()) {
                rest.push(path);
            } else if name.ends_with(".md") {
                found.insert(path.strip_prefix(root()).unwrap().into(), std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// The lines of a page outside code blocks.
fn prose(text: &str) -> Vec<&str> {
    let mut code = false;
    text.lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            code ^= fence;
            !code && !fence
        })
        .collect()
}

/// A line without inline code.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("x")
}

/// GitHub's anchor of a heading.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for heading in prose(text).into_iter().filter(|line| line.starts_with('#')) {
        let slug = slug(heading);
        let numbered = (1..).map(|n| format!("{slug}-{n}"));
        let free = std::iter::once(slug.clone()).chain(numbered).find(|name| !found.contains(name)).unwrap();
        found.insert(free);
    }
    found
}

/// The targets of a page's relative links.
fn links(text: &str) -> Vec<String> {
    let lines: Vec<String> = prose(text).into_iter().map(without_code).collect();
    let targets = lines.iter().flat_map(|line| line.split("](").skip(1).filter_map(|rest| rest.split(')').next()));
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).map(str::to_string).collect()
}

/// Resolves a target relative to its page: `a/b` and `../c` give `c`.
fn resolve(page: &Path, target: &str) -> PathBuf {
    let mut path = page.parent().unwrap_or(Path::new("")).to_path_buf();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path
}

/// The broken links of these pages, and the number of all links.
fn broken(pages: &BTreeMap<PathBuf, String>, exists: impl Fn(&Path) -> bool) -> (Vec<String>, usize) {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (page, text) in pages {
        for link in links(text) {
            count += 1;
            let (target, anchor) = link.split_once('#').map_or((link.as_str(), None), |(target, anchor)| (target, Some(anchor)));
            let path = if target.is_empty() { page.clone() } else { resolve(page, target) };
            let resolves = exists(&path)
                && match (anchor, pages.get(&path)) {
                    (Some(anchor), Some(text)) => anchors(text).contains(anchor),
                    (anchor, _) => anchor.is_none(),
                };
            if !resolves {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    (wrong, count)
}

#[test]
fn page_links_resolve() {
    let (wrong, count) = broken(&pages(), |path| root().join(path).exists());
    assert_eq!(wrong, Vec::<String>::new());
    assert!(count > 60, "only {count} links were found");
}

#[test]
fn broken_link_is_reported() {
    let page = |text: &str| BTreeMap::from([(PathBuf::from("docs/a.md"), format!("# The `first`, page\n\n{text}\n"))]);
    let wrong = |text: &str| broken(&page(text), |path| path == Path::new("docs/a.md")).0.len();
    assert_eq!(wrong("[here](#the-first-page), [itself](a.md) and [again](../docs/a.md#the-first-page)"), 0);
    assert_eq!(wrong("[no file](b.md), [no heading](#second), [nor there](a.md#second)"), 3);
    assert_eq!(wrong("```\n[code](b.md)\n```\nand `[code](b.md)` and [far](https://host/b.md)"), 0);
}
