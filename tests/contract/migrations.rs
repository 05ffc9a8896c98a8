//! A migration runs while processes of the previous release still serve (ARCHITECTURE.md, "Releases side by side"),
//! so it must be backward compatible: it adds, and removes nothing that they use.

use std::path::{Path, PathBuf};

/// Start of the comment that permits a contract step; it names the last release that used the removed object.
const MARK: &str = "-- contract: unused since ";

/// Statements of a migration that are incompatible with the previous release, with the reason.
fn refused(sql: &str) -> Vec<(String, &'static str)> {
    let code: Vec<_> = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let statements = code.join(" ").to_uppercase().replace(['(', ')', '\'', ','], " ");
    let statements: Vec<_> =
        statements.split(';').map(|one| format!(" {} ", one.split_whitespace().collect::<Vec<_>>().join(" "))).collect();
    // no release uses a table that this migration creates
    let created_here = |one: &str| {
        let table = one.split(" ON ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        statements.iter().any(|other| other.contains(&format!(" {table} ")) && other.contains(" CREATE TABLE "))
    };
    let reason = |one: &str| {
        let has = |words: &str| one.contains(words);
        let alters = one.split_once(" ALTER TABLE ").map(|(_, rest)| rest);
        match alters {
            _ if has(" DROP TABLE ") || has(" DROP VIEW ") || has(" TRUNCATE ") => Some("removes a table"),
            _ if has(" RENAME ") => Some("renames an object"),
            _ if has(" CREATE UNIQUE INDEX ") && !created_here(one) => Some("refuses rows that the previous release may write"),
            Some(rest) if rest.contains(" DROP ") => Some("removes a column or a constraint"),
            Some(rest) if [" MODIFY ", " CHANGE ", " ALTER "].iter().any(|word| rest.contains(word)) => Some("changes a column"),
            Some(rest) if [" UNIQUE ", " CHECK ", " CONSTRAINT ", " FOREIGN ", " PRIMARY "].iter().any(|word| rest.contains(word)) => {
                Some("refuses rows that the previous release may write")
            }
            Some(rest) if rest.contains(" NOT NULL ") && !rest.contains(" DEFAULT ") => {
                Some("requires a value that the previous release does not write")
            }
            _ => None,
        }
    };
    statements.iter().filter_map(|one| reason(one).map(|why| (one.trim().to_string(), why))).collect()
}

/// The release in a migration's `contract` comment.
fn unused_since(sql: &str) -> Option<&str> {
    sql.lines().find_map(|line| line.strip_prefix(MARK)).map(|rest| rest.split([' ', ',', ':']).next().unwrap_or_default())
}

fn number(version: &str) -> Option<Vec<u64>> {
    let parts: Vec<u64> = version.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    (parts.len() == 3).then_some(parts)
}

/// All `up.sql` files below a folder.
fn steps(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { steps(&path) } else { vec![path] }).filter(|path| path.ends_with("up.sql")).collect()
}

#[test]
fn migrations_are_compatible_with_the_previous_release() {
    let all = steps(&Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations"));
    assert!(all.len() > 10, "{all:?}");
    for path in all {
        let (sql, shown) = (std::fs::read_to_string(&path).unwrap(), path.display());
        let refused = refused(&sql);
        match unused_since(&sql) {
            None => {
                assert!(refused.is_empty(), "{shown}: {refused:?}; ARCHITECTURE.md describes how to make such a change in two releases")
            }
            Some(version) => {
                let (ended, this) = (number(version), number(env!("CARGO_PKG_VERSION")).unwrap());
                assert!(ended.is_some_and(|ended| ended < this), "{shown}: `{version}` is not an earlier release");
            }
        }
    }
}

#[test]
fn incompatible_statements_are_reported() {
    for sql in [
        "DROP TABLE orders;",
        "ALTER TABLE orders DROP COLUMN total;",
        "alter table orders\n  drop total;",
        "ALTER TABLE orders RENAME TO sales;",
        "ALTER TABLE orders RENAME COLUMN total TO sum;",
        "ALTER TABLE orders ADD COLUMN channel TEXT NOT NULL;",
        "CREATE INDEX a ON b (c); ALTER TABLE orders ADD channel VARCHAR(9) NOT NULL;",
        "ALTER TABLE orders MODIFY total VARCHAR(9);",
        "ALTER TABLE orders ADD UNIQUE (customer);",
        "CREATE UNIQUE INDEX one_each ON orders (customer);",
        "SET @change = IF(@there = 1, 'ALTER TABLE orders DROP COLUMN traceparent', 'DO 0');",
    ] {
        assert_eq!(refused(sql).len(), 1, "{sql}");
    }
    for sql in [
        "ALTER TABLE orders ADD COLUMN channel TEXT;",
        "ALTER TABLE orders ADD COLUMN channel TEXT NOT NULL DEFAULT 'web'; -- DROP TABLE, some day",
        "CREATE TABLE a (b TEXT NOT NULL UNIQUE); CREATE UNIQUE INDEX a_b ON a (b);",
        "CREATE INDEX orders_channel ON orders (channel);",
    ] {
        assert_eq!(refused(sql), [], "{sql}");
    }
    assert_eq!(unused_since("-- contract: unused since 0.2.0: no query reads it\nALTER TABLE orders DROP COLUMN total;"), Some("0.2.0"));
}
