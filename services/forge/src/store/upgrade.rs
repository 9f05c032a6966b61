//! Brings the database of an earlier forge up to date. Every step looks first whether it was done.

use rusqlite::{Connection, params};

use crate::error::Result;

/// Columns that came after the first tables.
const COLUMNS: &[(&str, &str, &str)] = &[
    ("repositories", "parent_id", "INTEGER"),
    ("repositories", "archived", "INTEGER NOT NULL DEFAULT 0"),
    ("repositories", "deleted", "INTEGER NOT NULL DEFAULT 0"),
    ("pulls", "head_repository_id", "INTEGER"),
    ("pulls", "head_owner_id", "INTEGER"),
    ("deliveries", "repository_id", "INTEGER"),
    ("deliveries", "installation_id", "INTEGER"),
];

/// Before foreign keys are watched: a table is made anew.
pub(super) fn upgrade(db: &Connection) -> Result<()> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    let done = steps(db);
    db.execute_batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    done
}

fn steps(db: &Connection) -> Result<()> {
    for (table, column, kind) in COLUMNS {
        if !has(db, table, column)? {
            db.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {kind}"))?;
        }
    }
    if !has(db, "hooks", "app_id")? {
        db.execute_batch(include_str!("hooks_of_apps.sql"))?;
    }
    db.execute_batch(include_str!("schema_more.sql"))?;
    Ok(())
}

fn has(db: &Connection, table: &str, column: &str) -> Result<bool> {
    let sql = "SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2";
    Ok(db.query_row(sql, params![table, column], |row| row.get::<_, i64>(0))? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_and_deliveries_of_an_earlier_forge_stay() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("schema.sql")).unwrap();
        db.execute_batch(
            "INSERT INTO users VALUES (1, 'team', 'none');
             INSERT INTO repositories VALUES (1, 1, 'iris', 'main', NULL, '', '');
             INSERT INTO hooks VALUES (7, 1, 'k', 'http://x', 's', 0, '[\"*\"]', 1, '', '');
             INSERT INTO deliveries VALUES (9, 7, 'g', 'push', NULL, '{}', 0, '', NULL);",
        )
        .unwrap();
        upgrade(&db).unwrap();
        upgrade(&db).unwrap();
        db.pragma_update(None, "foreign_keys", true).unwrap();
        let left = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(left("SELECT count(*) FROM hooks WHERE id = 7 AND repository_id = 1"), 1);
        assert_eq!(left("SELECT count(*) FROM pragma_foreign_key_check"), 0);
        db.execute("DELETE FROM hooks", []).unwrap();
        assert_eq!(left("SELECT count(*) FROM deliveries"), 0, "deliveries still hang on hooks");
    }
}
