//! Which file uses which: the sources of `src/` and `modules/`, parsed.
//!
//! A path leads to the file that defines its last segment: re-exports are followed. Code under `#[cfg(test)]` is left out.

use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The sources by path, with `/` between folders.
pub type Sources = BTreeMap<String, String>;

/// One use of a file by another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: String,
    pub to: String,
    pub line: usize,
    pub path: String,
    /// The path names a module, not an item in it: the items used through it have edges of their own.
    pub module_only: bool,
}

type Id = usize;

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Module,
    Item,
    /// No item of this name is written in the module: a macro defines it.
    Guess,
}

enum Name {
    Item,
    Alias(Vec<String>),
}

struct Module {
    path: Vec<String>,
    parent: Option<Id>,
    file: String,
    names: HashMap<String, Vec<Name>>,
    globs: Vec<Vec<String>>,
    children: HashMap<String, Vec<Id>>,
}

/// Where a module is.
struct Place<'a> {
    file: &'a str,
    /// Attributes `path` count from here.
    folder: &'a str,
    /// Folder of child modules.
    below: &'a str,
}

#[derive(Default)]
struct Tree {
    modules: Vec<Module>,
    /// The items of each module, to be visited once all names are known.
    bodies: Vec<(Id, Vec<syn::Item>)>,
    files: BTreeSet<String>,
    with_tests: bool,
}

/// All edges between files. Panics on a file that does not parse, and on a module without a file.
pub fn edges(sources: &Sources) -> Vec<Edge> {
    let mut tree = Tree::default();
    tree.load(sources, "src/lib.rs", None, vec!["crate".into()]);
    let mut found = BTreeSet::new();
    for (id, items) in &tree.bodies {
        let mut uses = Uses { tree: &tree, module: *id, found: &mut found };
        items.iter().for_each(|item| uses.visit_item(item));
    }
    found.into_iter().collect()
}

/// The files that modules declare, those of tests included.
pub fn files(sources: &Sources) -> BTreeSet<String> {
    let mut tree = Tree { with_tests: true, ..Tree::default() };
    tree.load(sources, "src/lib.rs", None, vec!["crate".into()]);
    tree.files
}

impl Tree {
    fn load(&mut self, sources: &Sources, file: &str, parent: Option<Id>, path: Vec<String>) -> Id {
        let text = sources.get(file).unwrap_or_else(|| panic!("{file}: a module without its file"));
        let parsed = syn::parse_file(text).unwrap_or_else(|cause| panic!("{file}:{}: {cause}", cause.span().start().line));
        self.files.insert(file.to_string());
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
        let below = match name {
            "mod.rs" | "lib.rs" | "main.rs" => folder.to_string(),
            name => format!("{folder}/{}", name.trim_end_matches(".rs")),
        };
        self.module(sources, parsed.items, &Place { file, folder, below: &below }, parent, path)
    }

    fn module(&mut self, sources: &Sources, items: Vec<syn::Item>, place: &Place, parent: Option<Id>, path: Vec<String>) -> Id {
        let Place { file, folder, below } = *place;
        let id = self.modules.len();
        self.modules.push(Module { path, parent, file: file.into(), names: HashMap::new(), globs: Vec::new(), children: HashMap::new() });
        let mut kept = Vec::new();
        for item in items {
            if !self.with_tests && tests_only(attributes(&item)) {
                continue;
            }
            if let syn::Item::Mod(child) = &item {
                let name = child.ident.to_string();
                let path = attribute_path(&child.attrs);
                let full = [&self.modules[id].path[..], std::slice::from_ref(&name)].concat();
                let made = match &child.content {
                    Some((_, items)) => {
                        let below = path.map_or_else(|| format!("{below}/{name}"), |path| join(below, &path));
                        self.module(sources, items.clone(), &Place { file, folder: &below, below: &below }, Some(id), full)
                    }
                    None => {
                        let file = match path {
                            Some(path) => join(folder, &path),
                            None => {
                                let flat = format!("{below}/{name}.rs");
                                if sources.contains_key(&flat) { flat } else { format!("{below}/{name}/mod.rs") }
                            }
                        };
                        // tests may use files of `tests/`
                        if self.with_tests && file.starts_with("tests/") {
                            continue;
                        }
                        self.load(sources, &file, Some(id), full)
                    }
                };
                self.modules[id].children.entry(name).or_default().push(made);
                continue;
            }
            self.name(id, &item);
            kept.push(item);
        }
        // blocks have `use` items of their own; their names count for the module
        let mut inner = InnerUses(Vec::new());
        kept.iter().filter(|item| !matches!(item, syn::Item::Use(_))).for_each(|item| inner.visit_item(item));
        for (alias, path) in inner.0 {
            match alias {
                Some(alias) => self.modules[id].names.entry(alias).or_default().push(Name::Alias(path)),
                None => self.modules[id].globs.push(path),
            }
        }
        self.bodies.push((id, kept));
        id
    }

    fn name(&mut self, id: Id, item: &syn::Item) {
        use syn::Item::*;
        let name = match item {
            Const(item) => item.ident.to_string(),
            Enum(item) => item.ident.to_string(),
            Fn(item) => item.sig.ident.to_string(),
            Static(item) => item.ident.to_string(),
            Struct(item) => item.ident.to_string(),
            Trait(item) => item.ident.to_string(),
            Type(item) => item.ident.to_string(),
            Union(item) => item.ident.to_string(),
            Macro(item) => {
                let Some(name) = &item.ident else { return };
                if item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export")) {
                    let path = [&self.modules[id].path[..], &[name.to_string()]].concat();
                    self.modules[0].names.entry(name.to_string()).or_default().push(Name::Alias(path));
                }
                name.to_string()
            }
            Use(item) => {
                for (alias, path) in flat(&item.tree) {
                    match alias {
                        Some(alias) => self.modules[id].names.entry(alias).or_default().push(Name::Alias(path)),
                        None => self.modules[id].globs.push(path),
                    }
                }
                return;
            }
            _ => return,
        };
        self.modules[id].names.entry(name).or_default().push(Name::Item);
    }

    /// The files that define what a path names, seen from a module; and whether it names a module.
    fn resolve(&self, module: Id, path: &[String]) -> BTreeSet<(String, Named)> {
        let mut found = BTreeSet::new();
        let mut seen = Vec::new();
        self.walk(module, path, true, &mut seen, &mut found);
        found
    }

    fn walk(&self, at: Id, path: &[String], first: bool, seen: &mut Vec<(Id, Vec<String>, bool)>, found: &mut BTreeSet<(String, Named)>) {
        let key = (at, path.to_vec(), first);
        if seen.contains(&key) || path.len() > 16 {
            return;
        }
        seen.push(key);
        let module = &self.modules[at];
        let Some((segment, rest)) = path.split_first() else {
            found.insert((module.file.clone(), Named::Module));
            return;
        };
        match segment.as_str() {
            "crate" | "tradepost" if first => return self.walk(0, rest, false, seen, found),
            "self" if first => return self.walk(at, rest, false, seen, found),
            "super" => {
                if let Some(parent) = module.parent {
                    self.walk(parent, rest, false, seen, found);
                }
                return;
            }
            _ => {}
        }
        let before = found.len();
        for child in module.children.get(segment).into_iter().flatten() {
            self.walk(*child, rest, false, seen, found);
        }
        for name in module.names.get(segment).into_iter().flatten() {
            match name {
                Name::Item => {
                    found.insert((module.file.clone(), Named::Item));
                }
                Name::Alias(alias) => {
                    let whole: Vec<String> = alias.iter().chain(rest).cloned().collect();
                    if alias[0] != *segment {
                        self.walk(at, &whole, true, seen, found);
                    } else {
                        // a name in its own path is a child module's or a crate's
                        for child in module.children.get(segment).into_iter().flatten() {
                            self.walk(*child, &whole[1..], false, seen, found);
                        }
                    }
                }
            }
        }
        if found.len() > before {
            return;
        }
        for glob in &module.globs {
            for target in self.named(at, glob, 0) {
                let mut through = BTreeSet::new();
                self.walk(target, path, false, seen, &mut through);
                found.extend(through.into_iter().filter(|(_, named)| *named != Named::Guess));
            }
        }
        // what a macro makes is where the macro is called
        if !first && found.len() == before {
            found.insert((module.file.clone(), Named::Guess));
        }
    }
}

impl Tree {
    /// The modules that a path names, not through globs.
    fn named(&self, at: Id, path: &[String], depth: usize) -> Vec<Id> {
        let Some((segment, rest)) = path.split_first() else { return vec![at] };
        let module = &self.modules[at];
        match segment.as_str() {
            "crate" | "tradepost" => return self.named(0, rest, depth),
            "self" => return self.named(at, rest, depth),
            "super" => return module.parent.map(|parent| self.named(parent, rest, depth)).unwrap_or_default(),
            _ => {}
        }
        let children = module.children.get(segment).into_iter().flatten();
        let mut found: Vec<Id> = children.flat_map(|child| self.named(*child, rest, depth)).collect();
        for name in module.names.get(segment).into_iter().flatten() {
            if let Name::Alias(alias) = name
                && alias[0] != *segment
                && depth < 8
            {
                let whole: Vec<String> = alias.iter().chain(rest).cloned().collect();
                found.extend(self.named(at, &whole, depth + 1));
            }
        }
        found
    }
}

/// The `use` items within blocks.
struct InnerUses(Vec<(Option<String>, Vec<String>)>);

impl<'ast> Visit<'ast> for InnerUses {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.0.extend(flat(&item.tree));
    }
}

struct Uses<'a> {
    tree: &'a Tree,
    module: Id,
    found: &'a mut BTreeSet<Edge>,
}

impl Uses<'_> {
    fn path(&mut self, path: &[String], line: usize) {
        let from = &self.tree.modules[self.module].file;
        for (to, named) in self.tree.resolve(self.module, path) {
            if to != *from {
                let module_only = named == Named::Module;
                self.found.insert(Edge { from: from.clone(), to, line, path: path.join("::"), module_only });
            }
        }
    }

    /// Paths among tokens: in macros and attributes.
    fn tokens(&mut self, tokens: TokenStream, strings: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.tokens(group.stream(), strings),
                TokenTree::Literal(literal) if strings => {
                    let text = literal.to_string();
                    let path: Vec<String> = text.trim_matches('"').split("::").map(str::to_string).collect();
                    if path.len() > 1
                        && path
                            .iter()
                            .all(|segment| syn::parse_str::<syn::Ident>(segment).is_ok() || segment == "crate" || segment == "super")
                    {
                        self.path(&path, literal.span().start().line);
                    }
                }
                TokenTree::Ident(first) => {
                    let line = first.span().start().line;
                    let mut path = vec![first.to_string()];
                    while let (Some(TokenTree::Punct(a)), Some(TokenTree::Punct(b)), Some(TokenTree::Ident(next))) =
                        (tokens.get(at + 1), tokens.get(at + 2), tokens.get(at + 3))
                    {
                        if a.as_char() != ':' || b.as_char() != ':' {
                            break;
                        }
                        path.push(next.to_string());
                        at += 3;
                    }
                    if path.len() > 1 {
                        self.path(&path, line);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !tests_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !tests_only(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for (_, path) in flat(&item.tree) {
            self.path(&path, item.span().start().line);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.path(&names, path.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        visit::visit_macro(self, called);
        self.tokens(called.tokens.clone(), false);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone(), true);
        }
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

/// A `use` tree as single paths: the name it gives (none for `*`), and the path.
pub fn flat(tree: &syn::UseTree) -> Vec<(Option<String>, Vec<String>)> {
    fn go(tree: &syn::UseTree, before: &[String], all: &mut Vec<(Option<String>, Vec<String>)>) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => go(&path.tree, &with(&path.ident), all),
            syn::UseTree::Name(name) if name.ident == "self" => all.push((before.last().cloned(), before.to_vec())),
            syn::UseTree::Name(name) => all.push((Some(name.ident.to_string()), with(&name.ident))),
            syn::UseTree::Rename(name) if name.ident == "self" => all.push((Some(name.rename.to_string()), before.to_vec())),
            syn::UseTree::Rename(name) => all.push((Some(name.rename.to_string()), with(&name.ident))),
            syn::UseTree::Glob(_) => all.push((None, before.to_vec())),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| go(tree, before, all)),
        }
    }
    let mut all = Vec::new();
    go(tree, &[], &mut all);
    all
}

pub fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    use syn::Item::*;
    match item {
        Const(item) => &item.attrs,
        Enum(item) => &item.attrs,
        Fn(item) => &item.attrs,
        Impl(item) => &item.attrs,
        Macro(item) => &item.attrs,
        Mod(item) => &item.attrs,
        Static(item) => &item.attrs,
        Struct(item) => &item.attrs,
        Trait(item) => &item.attrs,
        Type(item) => &item.attrs,
        Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether it is compiled for tests only: `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, ...))]`.
pub fn tests_only(attributes: &[syn::Attribute]) -> bool {
    fn needs_test(tokens: TokenStream) -> bool {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        match tokens.first() {
            Some(TokenTree::Ident(name)) if name == "test" => true,
            Some(TokenTree::Ident(name)) if name == "all" => match tokens.get(1) {
                Some(TokenTree::Group(group)) => {
                    let parts: Vec<TokenTree> = group.stream().into_iter().collect();
                    parts
                        .split(|part| matches!(part, TokenTree::Punct(comma) if comma.as_char() == ','))
                        .any(|part| needs_test(part.iter().cloned().collect()))
                }
                _ => false,
            },
            _ => false,
        }
    }
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || matches!(&attribute.meta, syn::Meta::List(list) if list.path.is_ident("cfg") && needs_test(list.tokens.clone()))
    })
}

pub fn attribute_path(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// A relative path, from a folder.
pub fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The circles among files: sets of files of which each is reached from each.
pub fn circles(edges: &[Edge]) -> Vec<Vec<String>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| !edge.module_only) {
        next.entry(&edge.from).or_default().insert(&edge.to);
    }
    let reach = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut todo: Vec<&str> = next.get(from).into_iter().flatten().copied().collect();
        while let Some(at) = todo.pop() {
            if seen.insert(at) {
                todo.extend(next.get(at).into_iter().flatten());
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> = next.keys().map(|from| (*from, reach(from))).collect();
    let mut circles = BTreeSet::new();
    for (file, all) in &reached {
        if all.contains(file) {
            let circle: Vec<String> = all
                .iter()
                .filter(|other| reached.get(*other).is_some_and(|back| back.contains(file)))
                .map(|other| other.to_string())
                .collect();
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}
