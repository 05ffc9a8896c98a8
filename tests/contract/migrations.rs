//! A migration is applied while processes of the release before it still serve (ARCHITECTURE.md, "Releases side by side"):
//! it adds, and takes nothing away that they use.

use std::path::{Path, PathBuf};

/// Begins the comment that allows a step back: which release was the last to use what is taken away.
const MARK: &str = "-- contract: unused since ";

/// Statements of a migration that the release before could not live with, with the reason.
fn refused(sql: &str) -> Vec<(String, &'static str)> {
    let code: Vec<_> = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let statements = code.join(" ").to_uppercase().replace(['(', ')', '\'', ','], " ");
    let statements: Vec<_> =
        statements.split(';').map(|one| format!(" {} ", one.split_whitespace().collect::<Vec<_>>().join(" "))).collect();
    // what is made in this very step nobody uses yet
    let made = |one: &str| {
        let table = one.split(" ON ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        statements.iter().any(|other| other.contains(&format!(" {table} ")) && other.contains(" CREATE TABLE "))
    };
    let reason = |one: &str| {
        let has = |words: &str| one.contains(words);
        let alters = one.split_once(" ALTER TABLE ").map(|(_, rest)| rest);
        match alters {
            _ if has(" DROP TABLE ") || has(" DROP VIEW ") || has(" TRUNCATE ") => Some("takes a table away"),
            _ if has(" RENAME ") => Some("gives something another name"),
            _ if has(" CREATE UNIQUE INDEX ") && !made(one) => Some("refuses rows that the release before may write"),
            Some(rest) if rest.contains(" DROP ") => Some("takes a column or a constraint away"),
            Some(rest) if [" MODIFY ", " CHANGE ", " ALTER "].iter().any(|word| rest.contains(word)) => Some("changes a column"),
            Some(rest) if [" UNIQUE ", " CHECK ", " CONSTRAINT ", " FOREIGN ", " PRIMARY "].iter().any(|word| rest.contains(word)) => {
                Some("refuses rows that the release before may write")
            }
            Some(rest) if rest.contains(" NOT NULL ") && !rest.contains(" DEFAULT ") => {
                Some("asks for a value that the release before does not give")
            }
            _ => None,
        }
    };
    statements.iter().filter_map(|one| reason(one).map(|why| (one.trim().to_string(), why))).collect()
}

/// The release that a migration names as the last to use what it takes away.
fn unused_since(sql: &str) -> Option<&str> {
    sql.lines().find_map(|line| line.strip_prefix(MARK)).map(|rest| rest.split([' ', ',', ':']).next().unwrap_or_default())
}

fn number(version: &str) -> Option<Vec<u64>> {
    let parts: Vec<u64> = version.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    (parts.len() == 3).then_some(parts)
}

/// Every `up.sql` below a folder.
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
            None => assert!(refused.is_empty(), "{shown}: {refused:?}; ARCHITECTURE.md says how such a change is made in two releases"),
            Some(version) => {
                let (ended, this) = (number(version), number(env!("CARGO_PKG_VERSION")).unwrap());
                assert!(ended.is_some_and(|ended| ended < this), "{shown}: `{version}` is no release before this one");
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
    assert_eq!(unused_since("-- contract: unused since 0.2.0: nobody asks for it\nALTER TABLE orders DROP COLUMN total;"), Some("0.2.0"));
}
