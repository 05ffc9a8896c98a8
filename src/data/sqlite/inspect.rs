//! Checks of a database file for the audit: its pages, indexes and foreign keys, and the schema that its migrations make.

use super::corruption::is_corruption;
use super::snapshot::snapshot;
use crate::kernel::error::StoreError;
use diesel::migration::{Migration, MigrationSource};
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel::{Connection, QueryResult, RunQueryDsl};
use diesel_migrations::EmbeddedMigrations;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Problems listed per file and check.
const MAX_PROBLEMS: usize = 20;

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = diesel::sql_types::Text)]
    line: String,
}

#[derive(diesel::QueryableByName)]
struct IntegrityLine {
    #[diesel(sql_type = diesel::sql_types::Text)]
    integrity_check: String,
}

#[derive(diesel::QueryableByName)]
struct Object {
    #[diesel(sql_type = diesel::sql_types::Text)]
    kind: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    sql: String,
}

/// What is wrong with the file. `check_pages` reads all of it: each page, row and index entry.
pub fn problems(path: &Path, migrations: &EmbeddedMigrations, check_pages: bool) -> Result<Vec<String>, StoreError> {
    let mut conn = match snapshot(path) {
        Ok(conn) => conn,
        Err(StoreError::Corrupt { cause, .. }) => return Ok(vec![cause]),
        Err(cause) => return Err(cause),
    };
    let mut problems = Vec::new();
    let checks = [
        check_pages.then(|| damaged_pages(&mut conn)),
        check_pages.then(|| broken_references(&mut conn)),
        Some(schema_differences(&mut conn, migrations)),
    ];
    for found in checks.into_iter().flatten() {
        match found {
            Ok(found) => problems.extend(found),
            Err(cause) if is_corruption(&cause.to_string()) => problems.push(cause.to_string()),
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(problems)
}

fn lines(conn: &mut SqliteConnection, query: &str) -> QueryResult<Vec<String>> {
    let rows: Vec<Line> = diesel::sql_query(query).load(conn)?;
    Ok(rows.into_iter().map(|row| row.line).collect())
}

fn damaged_pages(conn: &mut SqliteConnection) -> QueryResult<Vec<String>> {
    // the statement, not the function: there SQLite takes a number for the name of a table
    let found: Vec<IntegrityLine> = diesel::sql_query(format!("PRAGMA integrity_check({MAX_PROBLEMS})")).load(conn)?;
    Ok(found.into_iter().map(|row| row.integrity_check).filter(|line| line != "ok").collect())
}

fn broken_references(conn: &mut SqliteConnection) -> QueryResult<Vec<String>> {
    let query = "SELECT count(*) || ' rows of ' || \"table\" || ' refer to rows of ' || parent || ' that do not exist' AS line \
        FROM pragma_foreign_key_check GROUP BY \"table\", parent";
    lines(conn, query)
}

/// Tables and indexes that the applied migrations make, and the file lacks or has in another form. None for a file of a
/// later release: its migrations are unknown here.
fn schema_differences(conn: &mut SqliteConnection, migrations: &EmbeddedMigrations) -> QueryResult<Vec<String>> {
    if lines(conn, "SELECT name AS line FROM sqlite_schema WHERE name = '__diesel_schema_migrations'")?.is_empty() {
        return Ok(vec!["the list of applied migrations is missing".into()]);
    }
    let applied: BTreeSet<String> = lines(conn, "SELECT version AS line FROM __diesel_schema_migrations")?.into_iter().collect();
    let invalid = |cause: Box<dyn std::error::Error + Send + Sync>| diesel::result::Error::QueryBuilderError(cause);
    let known = MigrationSource::<Sqlite>::migrations(migrations).map_err(invalid)?;
    let version = |migration: &dyn Migration<Sqlite>| migration.name().version().to_string();
    if applied.iter().any(|applied| !known.iter().any(|migration| version(migration.as_ref()) == *applied)) {
        return Ok(Vec::new());
    }
    let mut expected = SqliteConnection::establish(":memory:").map_err(|cause| invalid(Box::new(cause)))?;
    for migration in known.iter().filter(|migration| applied.contains(&version(migration.as_ref()))) {
        migration.run(&mut expected).map_err(invalid)?;
    }
    let mut found: BTreeMap<String, Object> = objects(conn)?.into_iter().map(|object| (object.name.clone(), object)).collect();
    let difference = |object: Object| match found.remove(&object.name) {
        None => Some(format!("the {} {} is missing", object.kind, object.name)),
        Some(other) if words(&other.sql) == words(&object.sql) => None,
        Some(_) => Some(format!("the {} {} is not as the migrations make it", object.kind, object.name)),
    };
    Ok(objects(&mut expected)?.into_iter().filter_map(difference).collect())
}

/// Without those that SQLite makes itself.
fn objects(conn: &mut SqliteConnection) -> QueryResult<Vec<Object>> {
    diesel::sql_query("SELECT type AS kind, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'").load(conn)
}

/// White space makes no difference.
fn words(sql: &str) -> Vec<&str> {
    sql.split_whitespace().collect()
}
